"""Manifests in the three forms in which Libriheavy is published, for a corpus of its shape.

Raw lines have the book's text with its typographic marks, a recognizer's, what precedes both in
the book, and where they stand in it; extracted ones have one normalized text.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ray_slm.corpora.libriheavy_sources import manifest_name
from ray_slm.corpora.text import clean_text, normalize_text

AUDIO_PREFIX = "download/librilight/"
FORMS = ("raw", "cases_and_punc", "upper_no_punc")
_CONTEXT = 1000  # bytes of a book that precede a cut


class ShapedCut(NamedTuple):
    """A cut: ``start`` and ``num_samples`` in the recording, which has ``recording_samples``."""

    id: str
    recording: str
    start: int
    num_samples: int
    recording_samples: int
    speaker: str
    text: str


def typographic(text: str) -> str:
    """``text`` with the quotation marks of print; ``clean_text`` undoes it."""
    pieces = text.replace("'", "\u2019").split('"')
    marks = "\u201c\u201d"
    return "".join(p + (marks[i % 2] if i < len(pieces) - 1 else "") for i, p in enumerate(pieces))


def write_manifests(folders: Mapping[str, Path], cuts: Mapping[str, Sequence[ShapedCut]]) -> None:
    """``libriheavy_cuts_<subset>.jsonl.gz`` of every subset in each form's folder."""
    for form, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        for subset, of_subset in cuts.items():
            lines = "".join(json.dumps(line) + "\n" for line in _lines(of_subset, form))
            packed = gzip.compress(lines.encode(), 5, mtime=0)
            (folder / manifest_name(subset)).write_bytes(packed)


def _lines(cuts: Sequence[ShapedCut], form: str) -> list[dict[str, Any]]:
    lines, before = [], ""
    for cut in cuts:
        line = _line(cut, typographic(cut.text), before)
        before = f"{before} {typographic(cut.text)}"[-_CONTEXT:]
        if form != "raw":
            normalize = clean_text if form == "cases_and_punc" else normalize_text
            (text, _) = line["supervisions"][0].pop("custom")["texts"]
            line["supervisions"][0]["text"] = normalize(text)
            del line["custom"]
        lines.append(line)
    return lines


def _line(cut: ShapedCut, text: str, before: str) -> dict[str, Any]:
    seconds = cut.num_samples / 16_000
    begin = len(before.encode())
    custom = {
        "texts": [text, normalize_text(text)],
        "pre_texts": [before, normalize_text(before)],
        "begin_byte": begin,
        "end_byte": begin + len(text.encode()),
    }
    speech = {
        "id": cut.id,
        "recording_id": cut.recording,
        "start": 0,
        "duration": seconds,
        "channel": 0,
        "language": "English",
        "speaker": cut.speaker,
        "custom": custom,
    }
    return {
        "id": cut.id,
        "start": cut.start / 16_000,
        "duration": seconds,
        "channel": 0,
        "supervisions": [speech],
        "recording": _recording(cut),
        "custom": {"text_path": f"download/librilight_text/{cut.recording}/text.txt"},
        "type": "MonoCut",
    }


def _recording(cut: ShapedCut) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": f"{AUDIO_PREFIX}{cut.recording}.flac"}
    return {
        "id": cut.recording,
        "sources": [source],
        "sampling_rate": 16_000,
        "num_samples": cut.recording_samples,
        "duration": cut.recording_samples / 16_000,
        "channel_ids": [0],
    }
