"""What the formats with a file for each utterance share: tiers of labeled intervals.

The Montreal aligner fills a tier with empty labels up to the end of the file, so what is left by
snipped edges would look like a pause: an empty label at the end of at most 25 ms is left out.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ray_slm.corpora.alignment import SNIPPED_SAMPLES, AlignmentError
from ray_slm.corpora.alignments.source import TimedPhones, malformed, samples, text

ROLE = "file"
PHONES_TIER = "phones"


class Interval(NamedTuple):
    """A labeled interval; times in seconds, as they are written."""

    begin: str | float
    end: str | float
    label: str


def file_of(records: Mapping[str, Sequence[bytes]]) -> str:
    """The content of the utterance's file; raises AlignmentError when there is none."""
    found = records.get(ROLE, ())
    if not found:
        raise AlignmentError("ALIGN_MISSING", "no file of the alignments is of this utterance")
    if len(found) > 1:
        raise malformed(f"{len(found)} files of the alignments are of this utterance")
    return text(found[0])


def phones_tier(tiers: Sequence[str]) -> str:
    """The one tier named ``phones`` or ``<speaker> - phones``.

    Raises AlignmentError when there is none, or several, which then are of several speakers.
    """
    found = [t for t in tiers if t == PHONES_TIER or t.endswith(f"- {PHONES_TIER}")]
    if len(found) != 1:
        raise malformed(f"the tiers {list(tiers)} are not one named {PHONES_TIER!r} among others")
    return found[0]


def timed(intervals: Sequence[Interval], end: str | float | None) -> TimedPhones:
    """Intervals of the phones tier as timed phones; ``end`` is that of the file, if it says."""
    rows = [(each.label.strip(), samples(each.begin), samples(each.end)) for each in intervals]
    stated = None if end is None else samples(end)
    if rows and not rows[-1][0] and 0 <= rows[-1][2] - rows[-1][1] <= SNIPPED_SAMPLES:
        rows.pop()
    if not rows:
        raise AlignmentError("ALIGN_EMPTY", "the phones tier has no interval")
    labels, starts, ends = zip(*rows, strict=True)
    return TimedPhones(list(labels), list(starts), list(ends), stated)
