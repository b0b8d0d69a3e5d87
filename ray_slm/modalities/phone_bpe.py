"""Phone-BPE: SentencePiece over Phone-Raw, each phone one character.

Pieces may cross words but never a silence: the phones are cut at silences first, each silence is
the token 0, and SentencePiece sees only what lies between.
Legend: B utterances, P phones, R runs between silences, K runs and silences, T tokens.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm.corpora.inventory import SILENCE, STRESSED_ARPABET, Inventory
from ray_slm.modalities.letters import FIRST, LETTERS, as_strings
from ray_slm.modalities.modality import Form, Modality, Tokens, Waveform
from ray_slm.modalities.phone_raw import spoken_phones
from ray_slm.modalities.ragged import Ragged, row_sums, starts
from ray_slm.modalities.sampling import one_each, sample_by_hash
from ray_slm.modalities.sentence_pieces import Fitting, Pieces, fit_pieces, fitting_summary

NAME = "phone-bpe"
SILENCE_TOKEN = 0


class Parts(NamedTuple):
    """Runs (R,) of phones as strings; which of the K parts are silences; K of each utterance."""

    runs: list[str]
    silent_K: np.ndarray
    lengths_B: np.ndarray


def _parts(phones: Tokens, silence: int) -> Parts:
    silent_P = phones.flat_T == silence
    begins_P = silent_P.copy()  # a part begins at a silence, after one, and with an utterance
    begins_P[1:] |= silent_P[:-1]
    begins_P[starts(phones.lengths_B)[phones.lengths_B > 0]] = True
    begin_K = np.flatnonzero(begins_P)
    silent_K = silent_P[begin_K]
    length_K = np.diff(begin_K, append=len(silent_P))
    runs = as_strings(Ragged(phones.flat_T[~silent_P], length_K[~silent_K]))
    return Parts(runs.to_pylist(), silent_K, row_sums(begins_P, phones.lengths_B))


class PhoneBpeTokenizer:
    """Phone intervals to piece ids and back."""

    def __init__(self, pieces: Pieces, inventory: Inventory) -> None:
        self.vocab_size = pieces.num_pieces + 1
        self._pieces, self._inventory = pieces, inventory

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """Ids of pieces, silence being 0, or why there are none."""
        phones = spoken_phones(table, self._inventory)
        parts = _parts(phones, self._inventory.ids[SILENCE])
        pieces = self._pieces.encode(parts.runs)
        length_K = np.ones(len(parts.silent_K), dtype=np.int64)
        length_K[~parts.silent_K] = pieces.lengths_B
        flat_T = np.full(length_K.sum(), SILENCE_TOKEN, dtype=np.uint16)
        flat_T[np.repeat(~parts.silent_K, length_K)] = pieces.flat_N + 1
        return Tokens(flat_T, row_sums(length_K, parts.lengths_B), phones.refused)

    def decode(self, ids_T: np.ndarray) -> tuple[str, ...]:
        """The phones with these ids."""
        phones = self._inventory.phones
        silence = LETTERS[phones.index(SILENCE)]
        parts = (
            silence if i == SILENCE_TOKEN else self._pieces.decode(np.array([int(i) - 1]))
            for i in ids_T
        )
        return tuple(phones[ord(letter) - FIRST] for part in parts for letter in part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneBpe:
    """The stream of phone pieces: ``vocab_size`` of them with silence, fitted on training ids.

    More than ``max_sentences`` are sampled by hash of the id; ``seed`` matters only then.
    ``inventory`` is the corpus's.
    """

    REVISION: ClassVar[int] = 1
    form = Form.PHONES

    vocab_size: int = 2048
    max_sentences: int = 1_000_000
    seed: int = 0
    inventory: Inventory = STRESSED_ARPABET

    def fit(
        self,
        tables: Iterable[pa.Table],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Fit and write the pieces.  Raises ValueError when the data cannot fill them."""
        chosen = sample_by_hash(tables, self.max_sentences, one_each, self.seed)
        phones, silence = spoken_phones(chosen, self.inventory), self.inventory.ids[SILENCE]
        letters = LETTERS[: len(self.inventory.phones)]
        fitting = Fitting(
            num_pieces=self.vocab_size - 1,
            alphabet=letters.replace(LETTERS[silence], ""),
            by_script=False,
            name=f"{NAME} ({SILENCE} apart)",
        )
        pieces = fit_pieces(_parts(phones, silence).runs, fitting)
        pieces.write(folder)
        refused = len(phones.refused)
        return fitting_summary(
            pieces.num_pieces + 1, num_sentences=len(chosen) - refused, num_refused=refused
        )

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> PhoneBpeTokenizer:
        """The tokenizer with the fitted pieces."""
        assert vocabulary is not None, "Phone-BPE needs its fitted vocabulary"
        return PhoneBpeTokenizer(Pieces.read(vocabulary), self.inventory)


MODALITY = Modality(name=NAME, stream=PhoneBpe(), nominal_tokens_per_second=4.0)
