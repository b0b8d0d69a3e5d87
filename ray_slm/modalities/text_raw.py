"""Text-Raw: one token per character of the transcript, 78 symbols (paper, section 3).

Legend: T characters.  The symbols and their order are those of ``corpora.text``.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ray_slm.corpora.text import TEXT_SYMBOLS
from ray_slm.corpora.utterance import Quarantined, Utterance
from ray_slm.modalities.modality import Form, Modality, Waveform

STAGE = "tokenize"
_UNKNOWN = 255
_TABLE = np.full(128, _UNKNOWN, dtype=np.uint8)
_TABLE[[ord(symbol) for symbol in TEXT_SYMBOLS]] = np.arange(len(TEXT_SYMBOLS))


def symbol_ids(texts: Sequence[str]) -> list[np.ndarray]:
    """uint16 ids (T,) per text, one table look-up for all; 255 stands for unknown symbols."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    ids = np.where(codes < 128, _TABLE[np.minimum(codes, 127)], _UNKNOWN).astype(np.uint16)
    return np.split(ids, np.cumsum([len(text) for text in texts])[:-1]) if texts else []


def refusal(utterance: Utterance, ids_T: np.ndarray) -> Quarantined | None:
    """Why a transcript with these symbol ids has no tokens, or None."""
    if len(ids_T) == 0:
        return Quarantined(
            id=utterance.id, stage=STAGE, reason="EMPTY", detail="the transcript is empty"
        )
    unknown = sorted({utterance.transcript[i] for i in np.flatnonzero(ids_T == _UNKNOWN)})
    if not unknown:
        return None
    detail = f"the transcript has {', '.join(map(repr, unknown))}, outside the 78 symbols"
    return Quarantined(id=utterance.id, stage=STAGE, reason="UNKNOWN_SYMBOL", detail=detail)


class TextRawTokenizer:
    """Characters to ids and back."""

    vocab_size = len(TEXT_SYMBOLS)

    def tokenize(
        self, utterances: Sequence[Utterance], waveform: Waveform
    ) -> list[np.ndarray | Quarantined]:
        """uint16 ids (T,), one per character; unknown symbols are refused and named."""
        ids = symbol_ids([utterance.transcript for utterance in utterances])
        return [refusal(u, ids_T) or ids_T for u, ids_T in zip(utterances, ids, strict=True)]

    def decode(self, ids_T: np.ndarray) -> str:
        """The text with these ids."""
        return "".join(TEXT_SYMBOLS[i] for i in ids_T)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRaw:
    """The stream of characters; nothing is fitted."""

    REVISION: ClassVar[int] = 1
    form = Form.TEXT
    fits = False

    def fit(
        self,
        utterances: Iterable[Utterance],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Nothing to fit: raises TypeError."""
        raise TypeError("Text-Raw has a fixed vocabulary: there is nothing to fit")

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> TextRawTokenizer:
        """The tokenizer."""
        return TextRawTokenizer()


MODALITY = Modality(name="text-raw", stream=TextRaw(), nominal_tokens_per_second=14.5)
