"""Phone-Repeat: at 50 Hz, the phone that holds each frame's center, so that duration is carried.

It differs from Phone-Raw in repetition alone, and has the length of the speech units.
Legend: T frames.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ray_slm.corpora.alignment import frame_count, labels_at_50_hz
from ray_slm.corpora.lexicon import PHONES
from ray_slm.corpora.utterance import Quarantined, Utterance
from ray_slm.modalities.modality import Form, Modality, Waveform
from ray_slm.modalities.phone_raw import PHONE_IDS, STAGE, spoken_phones


class PhoneRepeatTokenizer:
    """Phones at 50 Hz to ids and back."""

    vocab_size = len(PHONES)

    def tokenize(
        self, utterances: Sequence[Utterance], waveform: Waveform
    ) -> list[np.ndarray | Quarantined]:
        """uint16 ids (T,), T = ``frame_count`` of the audio, or why there are none."""
        return [_ids(utterance) for utterance in utterances]

    def decode(self, ids_T: np.ndarray) -> tuple[str, ...]:
        """The phone of each frame."""
        return tuple(PHONES[i] for i in ids_T)


def _ids(utterance: Utterance) -> np.ndarray | Quarantined:
    phones = spoken_phones(utterance)
    if isinstance(phones, Quarantined):
        return phones
    num_frames = frame_count(utterance.num_samples)
    if num_frames == 0:
        detail = f"{utterance.num_samples} samples hold no frame"
        return Quarantined(id=utterance.id, stage=STAGE, reason="TOO_SHORT", detail=detail)
    labels = labels_at_50_hz(utterance.phones, utterance.ends, utterance.num_samples)
    assert len(labels) == num_frames, utterance.id
    return np.array([PHONE_IDS[label] for label in labels], dtype=np.uint16)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneRepeat:
    """The stream of phones at 50 Hz; nothing is fitted."""

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
        raise TypeError("Phone-Repeat has a fixed vocabulary: there is nothing to fit")

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> PhoneRepeatTokenizer:
        """The tokenizer."""
        return PhoneRepeatTokenizer()


MODALITY = Modality(name="phone-repeat", stream=PhoneRepeat(), nominal_tokens_per_second=50.0)
