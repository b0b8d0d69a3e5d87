"""Phone-Raw: one token per phone interval of the alignment, silences included (71 symbols).

The other two phone modalities read the same intervals, so that they differ in form alone.
Legend: T phones.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ray_slm.corpora.alignment import SNIPPED_SAMPLES
from ray_slm.corpora.lexicon import PHONES, SILENCE
from ray_slm.corpora.utterance import Quarantined, Utterance
from ray_slm.modalities.modality import Form, Modality, Waveform

STAGE = "tokenize"
PHONE_IDS = {phone: i for i, phone in enumerate(PHONES)}


def spoken_phones(utterance: Utterance) -> list[str] | Quarantined:
    """The phones in order, neighboring silences merged, an unlabeled end counted as silence.

    Refuses utterances without phones (NO_PHONES) and symbols outside the inventory
    (UNKNOWN_SYMBOL), which are named.
    """
    if not utterance.phones:
        return _refuse(utterance, "NO_PHONES", "there is no alignment")
    unknown = sorted({phone for phone in utterance.phones if phone not in PHONE_IDS})
    if unknown:
        detail = f"the alignment has {', '.join(map(repr, unknown))}, outside the {len(PHONES)}"
        return _refuse(utterance, "UNKNOWN_SYMBOL", f"{detail} phones")
    phones = list(utterance.phones)
    if utterance.ends and utterance.num_samples - utterance.ends[-1] > SNIPPED_SAMPLES:
        phones.append(SILENCE)
    pairs = zip([None, *phones[:-1]], phones, strict=True)
    return [phone for before, phone in pairs if not phone == before == SILENCE]


def _refuse(utterance: Utterance, reason: str, detail: str) -> Quarantined:
    return Quarantined(id=utterance.id, stage=STAGE, reason=reason, detail=detail)


class PhoneRawTokenizer:
    """Phone intervals to ids and back."""

    vocab_size = len(PHONES)

    def tokenize(
        self, utterances: Sequence[Utterance], waveform: Waveform
    ) -> list[np.ndarray | Quarantined]:
        """uint16 ids (T,), one per interval, or why there are none."""
        return [_ids(spoken_phones(utterance)) for utterance in utterances]

    def decode(self, ids_T: np.ndarray) -> tuple[str, ...]:
        """The phones with these ids."""
        return tuple(PHONES[i] for i in ids_T)


def _ids(phones: list[str] | Quarantined) -> np.ndarray | Quarantined:
    if isinstance(phones, Quarantined):
        return phones
    return np.array([PHONE_IDS[phone] for phone in phones], dtype=np.uint16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneRaw:
    """The stream of phone intervals; nothing is fitted."""

    REVISION: ClassVar[int] = 1
    form = Form.PHONES
    fits = False

    def fit(
        self,
        utterances: Iterable[Utterance],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Nothing to fit: raises TypeError."""
        raise TypeError("Phone-Raw has a fixed vocabulary: there is nothing to fit")

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> PhoneRawTokenizer:
        """The tokenizer."""
        return PhoneRawTokenizer()


MODALITY = Modality(name="phone-raw", stream=PhoneRaw(), nominal_tokens_per_second=10.0)
