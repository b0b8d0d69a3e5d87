"""The metadata.csv of a user's own directory: one line for each utterance.

Columns: ``id`` or ``file``, ``text``, and if wanted ``speaker`` and ``split``; others are ignored.
A line that is out of shape is refused, because its text would be cut off at a comma.
"""

import csv
import io
from pathlib import Path, PurePosixPath
from typing import NamedTuple

METADATA = "metadata.csv"
AUDIO_SUFFIXES = (".wav", ".flac")
SPLITS = ("train", "dev", "test")


class Row(NamedTuple):
    """What one line says of an id; ``raw`` is the text's bytes, None when there is none."""

    id: str
    raw: bytes | None
    speaker: str
    split: str


def read_metadata(path: Path) -> list[Row]:
    """The lines of a metadata.csv.

    ``file`` is a path relative to the CSV, ``id`` the same without suffix, with "." or "/"
    between folders.  Raises ValueError naming the line when columns are missing, a line has more
    fields than the header, a file lies outside, or a split is none of train, dev, test.
    """
    # Bytes that are not UTF-8 must come out of a field as they went in, to be refused one by one.
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        key = _key_column(path, columns)
        reader.fieldnames = columns
        return [_row(f"{path}:{reader.line_num}", fields, key) for fields in reader]
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: {error}; mend the quoting") from error


def _key_column(path: Path, columns: list[str]) -> str:
    keys = [name for name in columns if name in ("id", "file")]
    if len(keys) != 1 or "text" not in columns or len(set(columns)) != len(columns):
        raise ValueError(
            f"{path} has the columns {columns}; its first line must name text and either id or "
            "file, and may name speaker and split, separated by commas"
        )
    return keys[0]


def _row(place: str, fields: dict[str | None, str | None], key: str) -> Row:
    if None in fields:
        raise ValueError(f"{place}: more fields than columns; put the text in double quotes")
    name = (fields[key] or "").strip()
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or parts[0] == "/":
        raise ValueError(f"{place}: {key} {name!r} must be a path inside the folder")
    split = (fields.get("split") or "").strip()
    if split not in SPLITS and "split" in fields:
        raise ValueError(f"{place}: split is {split!r}; use one of {', '.join(SPLITS)}")
    stem = PurePosixPath(name)
    if key == "file" and stem.suffix.lower() in AUDIO_SUFFIXES:
        stem = stem.with_suffix("")
    text = fields["text"]
    raw = None if text is None else text.encode("utf-8", errors="surrogateescape")
    speaker = (fields.get("speaker") or "").strip()
    return Row(str(stem).replace("/", "."), raw, speaker, split)
