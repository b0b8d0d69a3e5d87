"""Text-BPE: SentencePiece pieces of the transcript, the topline of the paper (section 3).

Pieces do not cross words, so each distinct word is encoded once and looked up after that: the ids
equal those of whole sentences, an order of magnitude faster.
Legend: B utterances, N bytes, W words.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm.corpora.text import TEXT_SYMBOLS
from ray_slm.modalities.modality import Form, Modality, Tokens, Waveform
from ray_slm.modalities.ragged import array, row_sums, starts, strings_between
from ray_slm.modalities.sampling import one_each, sample_by_hash
from ray_slm.modalities.sentence_pieces import (
    Fitting,
    Pieces,
    WordTable,
    fit_pieces,
    fitting_summary,
)
from ray_slm.modalities.text_raw import Symbols, symbols

NAME = "text-bpe"
_SPACE = ord(" ")


class TextBpeTokenizer:
    """Transcripts to piece ids and back."""

    def __init__(self, pieces: Pieces) -> None:
        self.vocab_size = pieces.num_pieces
        self._pieces, self._words = pieces, WordTable(pieces)

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """Ids of the pieces; symbols that Text-Raw refuses are refused here too."""
        accepted = symbols(table)
        words = _words(accepted)
        pieces = self._words.encode(words.strings)
        lengths_B = row_sums(pieces.lengths_B, words.lengths_B)
        return Tokens(pieces.flat_N, lengths_B, accepted.refused)

    def decode(self, ids_T: np.ndarray) -> str:
        """The text with these ids."""
        return self._pieces.decode(ids_T).removeprefix(" ")


class _Words(NamedTuple):
    """The words of all texts, and how many each text has (B,)."""

    strings: pa.Array
    lengths_B: np.ndarray


def _words(texts: Symbols) -> _Words:
    """Texts cut before every space: the first word of a text may be empty, none is lost."""
    codes_N, lengths_B = texts.codes
    first_B = starts(lengths_B)[lengths_B > 0]
    space_N = np.flatnonzero(codes_N == _SPACE)
    before_B = np.searchsorted(space_N, first_B)  # a text begins before the space it begins with
    begins, ends = np.append(before_B, len(space_N)), np.append(first_B, len(codes_N))
    bounds = np.insert(space_N, begins, ends)
    words_B = np.zeros(len(lengths_B), dtype=np.int64)
    words_B[lengths_B > 0] = np.diff(before_B, append=len(space_N)) + 1
    return _Words(strings_between(codes_N.data, bounds), words_B)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextBpe:
    """The stream of pieces: ``vocab_size`` of them, fitted on training transcripts.

    More than ``max_sentences`` are sampled by hash of the id; ``seed`` matters only then.
    """

    REVISION: ClassVar[int] = 1
    form = Form.TEXT

    vocab_size: int = 2048
    max_sentences: int = 1_000_000
    seed: int = 0

    def fit(
        self,
        tables: Iterable[pa.Table],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Fit and write the pieces.  Raises ValueError when the data cannot fill them."""
        chosen = sample_by_hash(tables, self.max_sentences, one_each, self.seed)
        accepted_B = symbols(chosen).codes.lengths_B > 0
        texts = array(chosen, "transcript").filter(pa.array(accepted_B)).to_pylist()
        fitting = Fitting(
            num_pieces=self.vocab_size, alphabet="".join(TEXT_SYMBOLS), by_script=True, name=NAME
        )
        pieces = fit_pieces((f" {text}" for text in texts), fitting)
        pieces.write(folder)
        return fitting_summary(
            pieces.num_pieces, num_sentences=len(texts), num_refused=len(chosen) - len(texts)
        )

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> TextBpeTokenizer:
        """The tokenizer with the fitted pieces."""
        assert vocabulary is not None, "Text-BPE needs its fitted vocabulary"
        return TextBpeTokenizer(Pieces.read(vocabulary))


MODALITY = Modality(name=NAME, stream=TextBpe(), nominal_tokens_per_second=4.5)
