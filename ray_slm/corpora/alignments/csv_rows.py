"""The Montreal aligner's CSV: columns Begin, End, Label, Type, Speaker.

It lists labeled intervals only: what lies between them is silence, and the format does not say
how long the audio is.
"""

import csv
import io

from ray_slm.corpora.alignments import tiers
from ray_slm.corpora.alignments.source import TimedPhones, malformed, samples

COLUMNS = ("Begin", "End", "Label", "Type")


def timed_csv(content: str) -> TimedPhones:
    """The rows of type "phones"; raises AlignmentError saying what is out of shape."""
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise malformed(f"line {reader.line_num}: {error}") from None
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise malformed(f"the columns {missing} are missing in {reader.fieldnames}")
    short = [row for row in rows if None in row or None in row.values()]
    if short:
        raise malformed(f"{len(short)} rows have not as many fields as there are columns")
    phones = [row for row in rows if row["Type"] == tiers.PHONES_TIER]
    if len({row.get("Speaker") for row in phones}) > 1:
        raise malformed("the phones are of several speakers")
    phones.sort(key=lambda row: samples(row["Begin"]))
    return tiers.timed([tiers.Interval(r["Begin"], r["End"], r["Label"]) for r in phones], None)
