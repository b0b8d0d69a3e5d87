"""Phone-Raw: one token per phone interval of the alignment, silences included.

The other two phone modalities read the same intervals, so that they differ in form alone.
Legend: B utterances, P intervals of all of them, T tokens.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm.corpora.alignment import SNIPPED_SAMPLES
from ray_slm.corpora.inventory import SILENCE, STRESSED_ARPABET, Inventory
from ray_slm.corpora.utterance import Quarantined
from ray_slm.modalities.modality import Form, Modality, Tokens, Waveform, refuse
from ray_slm.modalities.ragged import Ragged, array, list_values, row_sums, starts, without_rows


class Intervals(NamedTuple):
    """Phone ids (P,) as aligned, with intervals per utterance (B,), and who is refused."""

    ids_P: np.ndarray
    lengths_B: np.ndarray
    refused: dict[int, Quarantined]


def intervals(table: pa.Table, inventory: Inventory) -> Intervals:
    """The intervals of a table's alignments.

    Refuses utterances without phones (NO_PHONES) and symbols outside the inventory
    (UNKNOWN_SYMBOL), which are named.
    """
    phones, known, unknown = array(table, "phones"), inventory.ids, len(inventory.phones)
    values, lengths_B = list_values(phones)
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    names = coded.dictionary.to_pylist()
    ids = np.array([known.get(name, unknown) for name in names], dtype=np.uint16)
    ids_P = ids[coded.indices.to_numpy()] if len(coded) else np.zeros(0, np.uint16)
    refused_B = lengths_B == 0
    if (unknown_P := ids_P == unknown).any():
        refused_B |= row_sums(unknown_P, lengths_B) > 0
    refused = {
        int(row): _refusal(table["id"][row].as_py(), phones[row].as_py(), inventory)
        for row in np.flatnonzero(refused_B)
    }
    return Intervals(*without_rows(Ragged(ids_P, lengths_B), refused_B), refused)


def _refusal(utterance_id: str, phones: list[str], inventory: Inventory) -> Quarantined:
    if not phones:
        return refuse(utterance_id, "NO_PHONES", "there is no alignment")
    unknown = ", ".join(map(repr, sorted(set(phones) - set(inventory.phones))))
    detail = f"the alignment has {unknown}, outside the {len(inventory.phones)} phones"
    return refuse(utterance_id, "UNKNOWN_SYMBOL", detail)


def interval_ends(table: pa.Table, refused: Mapping[int, Quarantined]) -> Ragged:
    """Ends in samples (P,) of the intervals that ``intervals`` kept."""
    values, lengths_B = list_values(array(table, "ends"))
    dropped_B = np.zeros(len(lengths_B), dtype=bool)
    dropped_B[list(refused)] = True
    return without_rows(Ragged(values.to_numpy(), lengths_B), dropped_B)


def last_ends(ends: Ragged) -> np.ndarray:
    """int64 (B,): where each alignment ends; 0 where there is none."""
    last_B = np.zeros(len(ends.lengths_B), dtype=np.int64)
    some_B = ends.lengths_B > 0
    last_B[some_B] = ends.flat_N[np.cumsum(ends.lengths_B)[some_B] - 1]
    return last_B


def spoken_phones(table: pa.Table, inventory: Inventory) -> Tokens:
    """The phones in order, neighboring silences merged, an unlabeled end counted as silence."""
    silence = inventory.ids[SILENCE]
    ids_P, lengths_B, refused = intervals(table, inventory)
    ends = interval_ends(table, refused)
    gap_B = array(table, "num_samples").to_numpy() - last_ends(ends)
    silent_end_B = (ends.lengths_B > 0) & (gap_B > SNIPPED_SAMPLES)
    if silent_end_B.any():
        ids_P = np.insert(ids_P, np.cumsum(lengths_B)[silent_end_B], silence)
        lengths_B = lengths_B + silent_end_B
    silent_P = ids_P == silence
    again_P = np.zeros(len(ids_P), dtype=bool)
    again_P[1:] = silent_P[1:] & silent_P[:-1]
    again_P[starts(lengths_B)[lengths_B > 0]] = False
    lengths_B = lengths_B - row_sums(again_P, lengths_B)
    return Tokens(ids_P[~again_P], lengths_B, refused)


class PhoneRawTokenizer:
    """Phone intervals to ids and back."""

    def __init__(self, inventory: Inventory) -> None:
        self.vocab_size = len(inventory.phones)
        self._inventory = inventory

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """One id per interval, or why there are none."""
        return spoken_phones(table, self._inventory)

    def decode(self, ids_T: np.ndarray) -> tuple[str, ...]:
        """The phones with these ids."""
        return tuple(self._inventory.phones[i] for i in ids_T)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneRaw:
    """The stream of phone intervals; nothing is fitted.  ``inventory`` is the corpus's."""

    REVISION: ClassVar[int] = 1
    form = Form.PHONES

    inventory: Inventory = STRESSED_ARPABET

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> PhoneRawTokenizer:
        """The tokenizer."""
        return PhoneRawTokenizer(self.inventory)


MODALITY = Modality(name="phone-raw", stream=PhoneRaw(), nominal_tokens_per_second=10.0)
