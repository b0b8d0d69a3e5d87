"""Phone-Repeat: at 50 Hz, the phone that holds each frame's center, so that duration is carried.

It differs from Phone-Raw in repetition alone, and has the length of the speech units.
Legend: B utterances, P intervals of all of them, T frames.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from ray_slm.corpora.alignment import FIELD_SAMPLES, FRAME_SAMPLES, SNIPPED_SAMPLES
from ray_slm.corpora.inventory import SILENCE, STRESSED_ARPABET, Inventory
from ray_slm.modalities.modality import Form, Modality, Tokens, Waveform, refuse
from ray_slm.modalities.phone_raw import Intervals, interval_ends, intervals, last_ends
from ray_slm.modalities.ragged import Ragged, array, starts, without_rows


def frame_counts(num_samples_B: np.ndarray) -> np.ndarray:
    """int64 (B,): ``corpora.alignment.frame_count`` of many lengths at once."""
    counts_B = (num_samples_B - FIELD_SAMPLES) // FRAME_SAMPLES + 1
    return np.where(num_samples_B < FIELD_SAMPLES, 0, counts_B)


def repeated_phones(table: pa.Table, inventory: Inventory) -> Tokens:
    """The phone id of each frame of the audio; what is too short for one is refused (TOO_SHORT)."""
    num_samples_B = array(table, "num_samples").to_numpy()
    frames_B = frame_counts(num_samples_B)
    found = _with_frames(intervals(table, inventory), frames_B, table)
    frames_B = np.where(found.lengths_B > 0, frames_B, 0)
    ends = interval_ends(table, found.refused)
    assert (ends.lengths_B == found.lengths_B).all(), "as many ends as phones"
    silence = inventory.ids[SILENCE]
    flat_T = _repeated(found, ends, num_samples_B, frames_B, silence)
    return Tokens(flat_T, frames_B, found.refused)


def _with_frames(found: Intervals, frames_B: np.ndarray, table: pa.Table) -> Intervals:
    """Refuse what is too short for a frame."""
    short_B = (frames_B == 0) & (found.lengths_B > 0)
    for row in np.flatnonzero(short_B):
        detail = f"{table['num_samples'][row].as_py()} samples hold no frame"
        found.refused[int(row)] = refuse(table["id"][row].as_py(), "TOO_SHORT", detail)
    rows = without_rows(Ragged(found.ids_P, found.lengths_B), short_B)
    return Intervals(*rows, found.refused)


def _repeated(
    found: Intervals,
    ends: Ragged,
    num_samples_B: np.ndarray,
    frames_B: np.ndarray,
    silence: int,
) -> np.ndarray:
    """Each phone as often as centers lie in its interval, then ``silence`` up to the last frame.

    The rule is that of ``corpora.alignment.phones_at_50_hz``: centers lie at 320 t + 160, and the
    last interval is stretched over a gap of at most 25 ms.
    """
    some_B = found.lengths_B > 0
    first_P = starts(found.lengths_B)[some_B]
    last_P = np.cumsum(found.lengths_B)[some_B] - 1
    rises_P = np.diff(ends.flat_N, prepend=0)
    rises_P[first_P] = ends.flat_N[first_P]
    assert rises_P.min(initial=1) > 0, "ends must rise strictly"
    until_P = (ends.flat_N + FRAME_SAMPLES // 2 - 1) // FRAME_SAMPLES  # centers before each end
    until_P = np.minimum(until_P, np.repeat(frames_B, found.lengths_B))
    stretched = (num_samples_B - last_ends(ends) <= SNIPPED_SAMPLES)[some_B]
    until_P[last_P[stretched]] = frames_B[some_B][stretched]
    repeats_P = np.diff(until_P, prepend=0)
    repeats_P[first_P] = until_P[first_P]
    ids_P = np.insert(found.ids_P, last_P + 1, silence)
    rest = frames_B[some_B] - until_P[last_P]
    return np.repeat(ids_P, np.insert(repeats_P, last_P + 1, rest))


class PhoneRepeatTokenizer:
    """Phones at 50 Hz to ids and back."""

    def __init__(self, inventory: Inventory) -> None:
        self.vocab_size = len(inventory.phones)
        self._inventory = inventory

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """One id per frame of the audio, or why there are none."""
        return repeated_phones(table, self._inventory)

    def decode(self, ids_T: np.ndarray) -> tuple[str, ...]:
        """The phone of each frame."""
        return tuple(self._inventory.phones[i] for i in ids_T)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneRepeat:
    """The stream of phones at 50 Hz; nothing is fitted.  ``inventory`` is the corpus's."""

    REVISION: ClassVar[int] = 1
    form = Form.PHONES

    inventory: Inventory = STRESSED_ARPABET

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> PhoneRepeatTokenizer:
        """The tokenizer."""
        return PhoneRepeatTokenizer(self.inventory)


MODALITY = Modality(name="phone-repeat", stream=PhoneRepeat(), nominal_tokens_per_second=50.0)
