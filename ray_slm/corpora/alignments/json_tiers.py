"""The Montreal aligner's JSON: tiers of ``[begin, end, label]``."""

import json
from typing import Any

from ray_slm.corpora.alignments import tiers
from ray_slm.corpora.alignments.source import TimedPhones, malformed


def timed_json(content: str) -> TimedPhones:
    """The phones tier of such a file; raises AlignmentError saying what is out of shape."""
    try:
        found: Any = json.loads(content)
    except json.JSONDecodeError as error:
        raise malformed(f"no JSON: {error}") from None
    of_tiers = found.get("tiers") if isinstance(found, dict) else None
    if not isinstance(of_tiers, dict):
        raise malformed('there is no object "tiers"')
    tier = of_tiers[tiers.phones_tier(list(of_tiers))]
    entries = tier.get("entries") if isinstance(tier, dict) else None
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise malformed('the phones tier has no "entries" of [begin, end, label]')
    return tiers.timed([tiers.Interval(*entry) for entry in entries], found.get("end"))


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 3:
        return False
    begin, end, label = entry
    numbers = all(isinstance(t, int | float) and not isinstance(t, bool) for t in (begin, end))
    return numbers and isinstance(label, str)
