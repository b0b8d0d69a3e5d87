"""Phone intervals in integer samples: checking them, and reading them at 50 Hz.

Whatever an aligner says passes through ``validated``, so that every corpus means the same by an
alignment.  ``phones_at_50_hz`` is the one rule by which phones become frames (science notes,
section 5); it shares its frame count with HuBERT, so that all 50 Hz modalities have one length.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from ray_slm.corpora.inventory import SILENCE, STRESSED_ARPABET, Inventory
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ

FRAME_SAMPLES = 320  # 20 ms
FIELD_SAMPLES = 400  # what one frame of a HuBERT-like encoder sees
SNIPPED_SAMPLES = 400  # aligners that snip edges leave up to 25 ms of the end unlabeled


class AlignmentError(ValueError):
    """An alignment that cannot be used; ``reason`` is the stable code for the quarantine."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alignment:
    """Consecutive intervals of one utterance from sample 0 on; ``ends`` rise strictly.

    ``num_trimmed`` counts the small faults that were mended on the way; it is not compared.
    """

    phones: tuple[str, ...]
    ends: tuple[int, ...]
    num_trimmed: int = dataclasses.field(default=0, compare=False)

    def __post_init__(self) -> None:
        assert len(self.phones) == len(self.ends)
        assert all(a < b for a, b in itertools.pairwise((0, *self.ends)))


def phone_label(symbol: str, inventory: Inventory = STRESSED_ARPABET) -> str:
    """An aligner's symbol in the inventory.

    Word positions (_B _E _I _S) are stripped; empty labels, sil and sp are silence; spn is SPN.
    Raises AlignmentError (ALIGN_UNKNOWN_PHONE) naming any other symbol.
    """
    label = inventory.label(symbol)
    if label is None:
        raise AlignmentError(
            "ALIGN_UNKNOWN_PHONE",
            f"lexicon mismatch: {symbol!r} is not among the {len(inventory.phones)} phones of the "
            "inventory; add it, or add it as another spelling of one of them",
        )
    return label


def validated(
    phones: Sequence[str],
    starts: Sequence[int],
    ends: Sequence[int],
    num_samples: int,
    tolerance: int = FRAME_SAMPLES,
    *,
    stated_samples: int | None = None,
    inventory: Inventory = STRESSED_ARPABET,
) -> Alignment:
    """The intervals [start, end) of an aligner, in samples, as one gapless Alignment.

    A fault of at most ``tolerance`` samples is mended and counted: what overruns is cut, what
    overlaps goes to the earlier phone, a gap goes to the later one, and a phone that is left
    without a sample is dropped.  Longer gaps become SIL, and so does an end that lies
    more than 25 ms before that of the audio.  Neighboring silences become one.  Aligners that
    state for how much audio they speak (``stated_samples``) may fall short of it by the 25 ms
    that snipped edges cost and ``tolerance``, and exceed it by ``tolerance``.

    Raises AlignmentError: ALIGN_EMPTY, ALIGN_LENGTHS, ALIGN_UNKNOWN_PHONE, and for greater faults
    ALIGN_NEGATIVE, ALIGN_OVERLAP, ALIGN_OVERRUN, ALIGN_SHORT with the durations that disagree.
    """
    _refuse_unequal(phones, starts, ends)
    _refuse_other_audio(stated_samples, num_samples, tolerance)
    labels = [phone_label(symbol, inventory) for symbol in phones]
    return _gapless(zip(labels, starts, ends, strict=True), num_samples, tolerance)


def _gapless(
    intervals: Iterable[tuple[str, int, int]], num_samples: int, tolerance: int
) -> Alignment:
    spans: list[tuple[str, int]] = []
    cursor = num_trimmed = 0
    for label, start, end in intervals:
        _refuse_great_faults(label, int(start), int(end), cursor, num_samples, tolerance)
        gap, begin, stop = int(start) - cursor, max(cursor, int(start)), min(int(end), num_samples)
        if gap > tolerance:
            spans.append((SILENCE, min(begin, num_samples)))
            cursor = spans[-1][1]
        if stop > begin:
            spans.append((label, stop))
            cursor = stop
        num_trimmed += stop <= begin or stop < end or (gap != 0 and gap <= tolerance)
    if num_samples - cursor > SNIPPED_SAMPLES:
        spans.append((SILENCE, num_samples))
    return _merged(spans, int(num_trimmed))


def _refuse_unequal(phones: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> None:
    if not len(phones) == len(starts) == len(ends):
        lengths = f"{len(phones)} phones, {len(starts)} starts and {len(ends)} ends"
        raise AlignmentError("ALIGN_LENGTHS", f"{lengths}: there must be as many of each")
    if len(phones) == 0:
        raise AlignmentError("ALIGN_EMPTY", "the alignment has no interval")


def _refuse_other_audio(stated_samples: int | None, num_samples: int, tolerance: int) -> None:
    """Raise AlignmentError when an alignment says that it is of another length of audio."""
    if stated_samples is None:
        return
    excess = stated_samples - num_samples
    lengths = f"the alignment is of {_seconds(stated_samples)}, the audio {_seconds(num_samples)}"
    if excess > tolerance:
        raise AlignmentError("ALIGN_OVERRUN", lengths)
    if -excess > SNIPPED_SAMPLES + tolerance:
        raise AlignmentError("ALIGN_SHORT", lengths)


def _refuse_great_faults(
    label: str, start: int, end: int, cursor: int, num_samples: int, tolerance: int
) -> None:
    """Raise AlignmentError when one interval is wrong by more than ``tolerance`` samples."""
    place = f"{label} at {_seconds(start)}-{_seconds(end)}"
    if start < -tolerance or start - end > tolerance:
        fault = "begins before the audio" if start < 0 else "ends before it begins"
        raise AlignmentError("ALIGN_NEGATIVE", f"{place} {fault}")
    if max(start, end) - num_samples > tolerance:
        raise AlignmentError(
            "ALIGN_OVERRUN",
            f"{place}: the alignment lasts {_seconds(max(start, end))}, "
            f"the audio {_seconds(num_samples)}",
        )
    if cursor - start > tolerance:
        raise AlignmentError(
            "ALIGN_OVERLAP",
            f"{place} begins before the phone in front of it ends, {_seconds(cursor)}",
        )


def _seconds(samples: int) -> str:
    return f"{samples / SAMPLE_RATE_HZ:.3f} s"


def _merged(spans: Sequence[tuple[str, int]], num_trimmed: int) -> Alignment:
    """Spans (label, end) as an Alignment, neighboring silences as one interval."""
    kept: list[tuple[str, int]] = []
    for label, end in spans:
        if kept and label == kept[-1][0] == SILENCE:
            kept.pop()
        kept.append((label, end))
    if not kept:
        raise AlignmentError("ALIGN_EMPTY", "no interval of the alignment holds a sample")
    labels, ends = zip(*kept, strict=True)
    return Alignment(phones=labels, ends=ends, num_trimmed=num_trimmed)


def frame_count(num_samples: int) -> int:
    """Frames at 50 Hz of so many samples: one per 20 ms, as long as 25 ms can be seen."""
    if num_samples < FIELD_SAMPLES:
        return 0
    return (num_samples - FIELD_SAMPLES) // FRAME_SAMPLES + 1


def phones_at_50_hz(
    phones: Sequence[str], ends: Sequence[int], num_samples: int
) -> tuple[int, ...]:
    """For each of ``frame_count(num_samples)`` frames, the index of the interval it belongs to.

    Frame t belongs to the half-open interval [begin, end) that holds its center, sample
    320 t + 160.  The last interval is stretched to the end of the audio over a gap of at most
    25 ms; beyond it, frames are silence and have the index ``len(phones)``.
    """
    assert len(phones) == len(ends), (len(phones), len(ends))
    centers_T = np.arange(frame_count(num_samples)) * FRAME_SAMPLES + FRAME_SAMPLES // 2
    ends_P = np.array(ends, dtype=np.int64)
    assert bool(np.all(np.diff(ends_P, prepend=0) > 0)), "ends must rise strictly"
    if len(ends_P) and num_samples - ends_P[-1] <= SNIPPED_SAMPLES:
        ends_P[-1] = max(ends_P[-1], num_samples)
    return tuple(np.searchsorted(ends_P, centers_T, side="right").tolist())


def labels_at_50_hz(phones: Sequence[str], ends: Sequence[int], num_samples: int) -> list[str]:
    """The phone of each frame, by the rule of ``phones_at_50_hz``."""
    labels = [*phones, SILENCE]
    return [labels[i] for i in phones_at_50_hz(phones, ends, num_samples)]


def num_vanished(frames: Sequence[int], num_phones: int) -> int:
    """How many intervals own no frame: those shorter than 20 ms may, and the tail's last."""
    return num_phones - len({i for i in frames if i < num_phones})
