"""Phone-BPE: SentencePiece over Phone-Raw, each phone one character.

Pieces may cross words but never a silence: the phones are cut at silences first, each silence is
the token 0, and SentencePiece sees only what lies between.
Legend: T tokens.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np

from ray_slm.corpora.lexicon import PHONES, SILENCE
from ray_slm.corpora.utterance import Quarantined, Utterance
from ray_slm.modalities.modality import Form, Modality, Waveform
from ray_slm.modalities.phone_raw import spoken_phones
from ray_slm.modalities.sampling import sample_by_hash
from ray_slm.modalities.sentence_pieces import Pieces, fit_pieces

NAME = "phone-bpe"
SILENCE_ID = 0
_LETTER = {phone: chr(0xE000 + i) for i, phone in enumerate(PHONES)}  # private use: no meaning
_PHONE = {letter: phone for phone, letter in _LETTER.items()}


def _runs(phones: Sequence[str]) -> list[str]:
    """Runs of letters; every silence is a run of its own letter."""
    letters = (_LETTER[phone] for phone in phones)
    grouped = itertools.groupby(letters, key=lambda letter: letter == _LETTER[SILENCE])
    return ["".join(group) for _, group in grouped]


class PhoneBpeTokenizer:
    """Phone intervals to piece ids and back."""

    def __init__(self, pieces: Pieces) -> None:
        self.vocab_size = pieces.num_pieces + 1
        self._pieces = pieces

    def tokenize(
        self, utterances: Sequence[Utterance], waveform: Waveform
    ) -> list[np.ndarray | Quarantined]:
        """uint16 ids (T,), silence being 0, or why there are none."""
        spoken = [spoken_phones(utterance) for utterance in utterances]
        runs = [[] if isinstance(phones, Quarantined) else _runs(phones) for phones in spoken]
        encoded = iter(self._encode([run for one in runs for run in one]))
        ids = [list(itertools.islice(encoded, len(one))) for one in runs]
        return [
            phones if isinstance(phones, Quarantined) else np.concatenate(parts)
            for phones, parts in zip(spoken, ids, strict=True)
        ]

    def decode(self, ids_T: np.ndarray) -> tuple[str, ...]:
        """The phones with these ids."""
        parts = (
            _LETTER[SILENCE] if i == SILENCE_ID else self._pieces.decode(np.array([int(i) - 1]))
            for i in ids_T
        )
        return tuple(_PHONE[letter] for part in parts for letter in part)

    def _encode(self, runs: Sequence[str]) -> list[np.ndarray]:
        silence = np.array([SILENCE_ID], dtype=np.uint16)
        spoken = iter(self._pieces.encode([run for run in runs if run != _LETTER[SILENCE]]))
        return [
            silence if run == _LETTER[SILENCE] else (next(spoken) + 1).astype(np.uint16)
            for run in runs
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneBpe:
    """The stream of phone pieces: ``vocab_size`` of them with silence, fitted on training ids.

    More than ``max_sentences`` are sampled by hash of the id; ``seed`` matters only then.
    """

    REVISION: ClassVar[int] = 1
    form = Form.PHONES
    fits = True

    vocab_size: int = 2048
    max_sentences: int = 1_000_000
    seed: int = 0

    def fit(
        self,
        utterances: Iterable[Utterance],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Fit and write the pieces.  Raises ValueError when the data cannot fill them."""
        chosen = sample_by_hash(utterances, self.max_sentences, lambda _: 1, self.seed)
        spoken = [phones for u in chosen if not isinstance(phones := spoken_phones(u), Quarantined)]
        runs = [run for phones in spoken for run in _runs(phones) if run != _LETTER[SILENCE]]
        pieces = fit_pieces(
            runs,
            self.vocab_size - 1,
            alphabet="".join(_LETTER[phone] for phone in PHONES if phone != SILENCE),
            by_script=False,
            name=f"{NAME} (silence apart)",
        )
        pieces.write(folder)
        return {
            "vocab_size": pieces.num_pieces + 1,
            "num_sentences": len(spoken),
            "num_refused": len(chosen) - len(spoken),
            "sentencepiece": version("sentencepiece"),
        }

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> PhoneBpeTokenizer:
        """The tokenizer with the fitted pieces."""
        assert vocabulary is not None, "Phone-BPE needs its fitted vocabulary"
        return PhoneBpeTokenizer(Pieces.read(vocabulary))


MODALITY = Modality(name=NAME, stream=PhoneBpe(), nominal_tokens_per_second=4.0)
