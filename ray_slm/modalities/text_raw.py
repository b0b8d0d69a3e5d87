"""Text-Raw: one token per character of the transcript, 78 symbols (paper, section 3).

The symbols and their order are those of ``corpora.text``.  Legend: B utterances, N bytes.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm.corpora.text import TEXT_SYMBOLS
from ray_slm.corpora.utterance import Quarantined
from ray_slm.modalities.modality import Form, Modality, Tokens, Waveform, refuse
from ray_slm.modalities.ragged import Ragged, array, row_sums, text_bytes, without_rows

_UNKNOWN = 255
_TABLE = np.full(256, _UNKNOWN, dtype=np.uint8)  # every byte of a symbol beyond ASCII is unknown
_TABLE[[ord(symbol) for symbol in TEXT_SYMBOLS]] = np.arange(len(TEXT_SYMBOLS))


class Symbols(NamedTuple):
    """The bytes of the transcripts that are not refused, one per symbol, and who is refused."""

    codes: Ragged
    refused: dict[int, Quarantined]


def symbols(table: pa.Table) -> Symbols:
    """The symbols of transcripts; empty ones (EMPTY) and UNKNOWN_SYMBOL are refused."""
    texts = array(table, "transcript")
    codes = text_bytes(texts)
    refused_B = codes.lengths_B == 0
    if (unknown_N := _TABLE[codes.flat_N] == _UNKNOWN).any():
        refused_B |= row_sums(unknown_N, codes.lengths_B) > 0
    refused = {
        int(row): _refusal(table["id"][row].as_py(), texts[row].as_py())
        for row in np.flatnonzero(refused_B)
    }
    return Symbols(without_rows(codes, refused_B), refused)


def _refusal(utterance_id: str, transcript: str) -> Quarantined:
    if not transcript:
        return refuse(utterance_id, "EMPTY", "the transcript is empty")
    unknown = sorted(set(transcript) - set(TEXT_SYMBOLS))
    detail = f"the transcript has {', '.join(map(repr, unknown))}, outside the 78 symbols"
    return refuse(utterance_id, "UNKNOWN_SYMBOL", detail)


class TextRawTokenizer:
    """Characters to ids and back."""

    vocab_size = len(TEXT_SYMBOLS)

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """One id per character; unknown symbols are refused and named."""
        found = symbols(table)
        ids_N = _TABLE[found.codes.flat_N].astype(np.uint16)
        return Tokens(ids_N, found.codes.lengths_B, found.refused)

    def decode(self, ids_T: np.ndarray) -> str:
        """The text with these ids."""
        return "".join(TEXT_SYMBOLS[i] for i in ids_T)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRaw:
    """The stream of characters; nothing is fitted."""

    REVISION: ClassVar[int] = 1
    form = Form.TEXT

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> TextRawTokenizer:
        """The tokenizer."""
        return TextRawTokenizer()


MODALITY = Modality(name="text-raw", stream=TextRaw(), nominal_tokens_per_second=14.5)
