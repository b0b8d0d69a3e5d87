"""Streams made of another stream's units: runs of equal units as one token, and BPE over those.

They read the token store of the 50 Hz stream, so audio is encoded once for all three.  How many
frames each token stands for is kept beside the tokens: durations are set apart, not lost.
Legend: B utterances, U units, R runs, T tokens.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm.modalities.letters import LETTERS, as_strings
from ray_slm.modalities.modality import Form, Tokens, Waveform
from ray_slm.modalities.ragged import Ragged, array, list_values, row_sums, starts
from ray_slm.modalities.sampling import minutes_of_audio
from ray_slm.modalities.sentence_pieces import Fitting, Pieces, fit_pieces, fitting_summary
from ray_slm.modalities.speech_units import SpeechUnits

MAX_RUN = np.iinfo(np.uint16).max  # 22 minutes of one unit


class Runs(NamedTuple):
    """The unit of each run (R,), its frames, and how many runs an utterance has (B,)."""

    units_R: np.ndarray
    frames_R: np.ndarray
    lengths_B: np.ndarray


class Decoded(NamedTuple):
    """The unit of each run (R,), and of how many runs each token is (T,)."""

    units_R: np.ndarray
    runs_T: np.ndarray


def runs_of(table: pa.Table) -> Runs:
    """Runs of equal neighbors in the column ``units``; none reaches from one row to the next."""
    values, lengths_B = list_values(array(table, "units"))
    units_U = values.to_numpy()
    begins_U = np.ones(len(units_U), dtype=bool)
    begins_U[1:] = units_U[1:] != units_U[:-1]
    begins_U[starts(lengths_B)[lengths_B > 0]] = True
    begin_R = np.flatnonzero(begins_U)
    frames_R = np.diff(begin_R, append=len(units_U))
    assert frames_R.max(initial=0) <= MAX_RUN, f"a run of {frames_R.max()} frames"
    return Runs(units_U[begin_R], frames_R.astype(np.uint16), row_sums(begins_U, lengths_B))


class DedupTokenizer:
    """Units to runs."""

    def __init__(self, num_units: int) -> None:
        self.vocab_size = num_units

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """One token per run of equal units."""
        runs = runs_of(table)
        return Tokens(runs.units_R, runs.lengths_B, {}, runs.frames_R)

    def decode(self, ids_T: np.ndarray) -> Decoded:
        """The units are the ids."""
        return Decoded(ids_T, np.ones(len(ids_T), dtype=np.int64))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DedupUnits:
    """Each run of equal units of ``source`` as one token."""

    REVISION: ClassVar[int] = 1
    form = Form.UNITS

    source: SpeechUnits
    source_name: str

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> DedupTokenizer:
        """The tokenizer; there is nothing to fit beyond the units."""
        return DedupTokenizer(self.source.num_units)


class UnitBpeTokenizer:
    """Units to pieces of runs."""

    def __init__(self, pieces: Pieces) -> None:
        self.vocab_size = pieces.num_pieces
        self._pieces = pieces
        texts = (pieces.decode(np.array([i])) for i in range(pieces.num_pieces))
        self._runs_of_piece = np.array([len(text) for text in texts])

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """Ids of pieces, and the frames of all the runs in each."""
        runs = runs_of(table)
        strings = as_strings(Ragged(runs.units_R, runs.lengths_B))
        pieces = self._pieces.encode(strings.to_pylist())
        frames_T = row_sums(runs.frames_R, self._runs_of_piece[pieces.flat_N])
        assert frames_T.max(initial=0) <= MAX_RUN, f"a piece of {frames_T.max()} frames"
        return Tokens(pieces.flat_N, pieces.lengths_B, {}, frames_T.astype(np.uint16))

    def decode(self, ids_T: np.ndarray) -> Decoded:
        """The units of the pieces' runs, and the runs of each piece."""
        found = [LETTERS.index(letter) for letter in self._pieces.decode(ids_T)]
        return Decoded(np.array(found, dtype=np.int64), self._runs_of_piece[ids_T])


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitBpe:
    """SentencePiece BPE over runs of equal units (acoustic BPE), as Phone-BPE is over Phone-Raw.

    ``vocab_size`` counts the units themselves too.  Fitted on ``sample_minutes`` of training
    utterances, chosen by seeded hash of the id.
    """

    REVISION: ClassVar[int] = 1
    form = Form.UNITS

    source: SpeechUnits
    source_name: str
    vocab_size: int = 4096
    sample_minutes: int = 6_000
    seed: int = 0

    def fit(
        self,
        tables: Iterable[pa.Table],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Fit and write the pieces.  Raises ValueError when the data cannot fill them."""
        runs = runs_of(minutes_of_audio(tables, self.sample_minutes, self.seed))
        fitting = Fitting(
            num_pieces=self.vocab_size,
            alphabet=LETTERS[: self.source.num_units],
            by_script=False,
            name=f"BPE over {self.source_name}",
        )
        texts = as_strings(Ragged(runs.units_R, runs.lengths_B)).to_pylist()
        pieces = fit_pieces(texts, fitting)
        pieces.write(folder)
        return fitting_summary(pieces.num_pieces, num_sentences=len(texts), num_refused=0)

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> UnitBpeTokenizer:
        """The tokenizer with the fitted pieces."""
        assert vocabulary is not None, "BPE over units needs its fitted vocabulary"
        return UnitBpeTokenizer(Pieces.read(vocabulary))
