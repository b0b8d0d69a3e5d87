"""What a user's own directory holds, before anything is decoded: files, digest, texts, splits.

Every question that concerns the directory as a whole (links, duplicate ids, equal audio, who is
held out) is answered here, so that shards can then be prepared one by one.
"""

import collections
import functools
import hashlib
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ray_slm.corpora.folder_metadata import AUDIO_SUFFIXES, METADATA, Row, read_metadata

NO_SPEAKER = "unknown"
MIN_SPEAKERS = 3  # one each for train, dev and test


class Candidate(NamedTuple):
    """One id of the directory; paths are relative to it, and empty where there is none.

    ``raw`` is the transcript as it stands in its file, None when there is none; ``sha256`` is
    that of the audio file where there are both.
    """

    id: str
    audio: str
    raw: bytes | None
    speaker: str
    split: str = ""
    duplicate_of: str = ""
    sha256: str = ""


def listed(problems: Collection[str]) -> str:
    """How many there are, and the first 20."""
    shown = sorted(problems)[:20]
    more = f" and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    return f"{len(problems)}: {', '.join(shown)}{more}"


def list_files(root: Path) -> tuple[str, ...]:
    """The relative paths that count, sorted: .wav, .flac, .txt and the root's metadata.csv.

    Hidden files and folders are passed over.  Raises ValueError when the root is no directory or
    has no audio, something cannot be read, or links lead out of the root or nowhere.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is no directory; pass the right one with `--place NAME=PATH`")
    found: list[str] = []
    outside: list[str] = []
    for folder, folders, files in os.walk(root, onerror=_refuse_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not _leads_inside(path, root):
                outside.append(path.relative_to(root).as_posix())
        found += [
            Path(folder, name).relative_to(root).as_posix() for name in files if name[0] != "."
        ]
    if outside:
        raise ValueError(f"{root}: links lead out of it or nowhere, {listed(outside)}; copy them")
    suffixes = (*AUDIO_SUFFIXES, ".txt")
    if not any(_suffix(name) in AUDIO_SUFFIXES for name in found):
        raise ValueError(f"{root} is an empty corpus: it holds no .wav or .flac file")
    return tuple(sorted(f for f in found if f == METADATA or _suffix(f) in suffixes))


def folder_digest(path: Path) -> str:
    """sha256 over the (relative path, size, sha256 of content) of the files that count."""
    sums = hashlib.sha256()
    for name in list_files(path):
        size = (path / name).stat().st_size
        sums.update(json.dumps([name, size, content_digest(path / name)]).encode() + b"\n")
    return sums.hexdigest()


def content_digest(path: Path) -> str:
    """sha256 of a file, read once per process as long as its size and time stay."""
    try:
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise _unreadable(error) from error


def survey(root: Path, seed: int, dev_fraction: float, test_fraction: float) -> list[Candidate]:
    """Every id of the directory, sorted, with its split where both audio and text are there.

    Where two ids have files of equal content, the second is a duplicate of the first.  Raises
    ValueError as ``list_files`` and ``read_metadata`` do, and for duplicate ids or an empty split.
    """
    files = list_files(root)
    audio = [name for name in files if _suffix(name) in AUDIO_SUFFIXES]
    refuse_twice(root, map(_id, audio))
    by_id = {_id(name): name for name in audio}
    rows = read_metadata(root / METADATA) if METADATA in files else _text_files(root, files)
    refuse_twice(root, [row.id for row in rows])
    rows += [Row(each, None, "", "") for each in by_id.keys() - {row.id for row in rows}]
    owners: dict[str, str] = {}
    candidates = []
    for row in sorted(rows):
        name = by_id.get(row.id, "")
        owner, digest = row.id, ""
        if name and row.raw is not None:
            digest = content_digest(root / name)
            owner = owners.setdefault(digest, row.id)
        duplicate_of = owner if owner != row.id else ""
        speaker = row.speaker or _top_folder(name)
        found = Candidate(row.id, name, row.raw, speaker, row.split, duplicate_of, digest)
        candidates.append(found)
    return _with_splits(root, candidates, seed, dev_fraction, test_fraction)


def held_out(
    keys: Collection[str], seed: int, dev_fraction: float, test_fraction: float
) -> dict[str, str]:
    """A split for each key: in the order of seeded hashes, first dev, then test, then train.

    A fraction above zero holds out one key at least.  Raises ValueError if none is left to train.
    """
    order = sorted(keys, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    num_dev, num_test = (
        max(1, round(fraction * len(order))) if fraction > 0 else 0
        for fraction in (dev_fraction, test_fraction)
    )
    if num_dev + num_test >= len(order):
        raise ValueError(
            f"{len(order)} utterances or speakers are too few for dev ({num_dev}), test "
            f"({num_test}) and train; add some, or give a split column in {METADATA}"
        )
    sizes = {"dev": num_dev, "test": num_test, "train": len(order) - num_dev - num_test}
    splits = [split for split, size in sizes.items() for _ in range(size)]
    return dict(zip(order, splits, strict=True))


def refuse_twice(root: Path, ids: Iterable[str]) -> None:
    """Raise ValueError when an id stands twice: a.wav and a.flac, a/b.wav and a.b.wav."""
    twice = [each for each, count in collections.Counter(ids).items() if count > 1]
    if twice:
        raise ValueError(f"{root}: duplicate ids, {listed(twice)}; rename or remove the others")


def _with_splits(
    root: Path, candidates: list[Candidate], seed: int, dev_fraction: float, test_fraction: float
) -> list[Candidate]:
    """Splits as the metadata say, else by speaker when there are three, else by id."""
    usable = [c for c in candidates if c.audio and c.raw is not None and not c.duplicate_of]
    if any(c.split for c in candidates):
        missing = sorted({"train", "dev"} - {c.split for c in usable})
        if missing:
            raise ValueError(f"{root / METADATA}: no usable line is in the split {missing[0]!r}")
        return candidates
    speakers = {c.speaker for c in usable}
    by_speaker = len(speakers) >= MIN_SPEAKERS
    keys = speakers if by_speaker else {c.id for c in usable}
    splits = held_out(keys, seed, dev_fraction, test_fraction)
    return [c._replace(split=splits.get(c.speaker if by_speaker else c.id, "")) for c in candidates]


def _text_files(root: Path, files: Iterable[str]) -> list[Row]:
    """A row for each .txt file; it belongs to the audio of the same path without suffix."""
    names = [name for name in files if _suffix(name) == ".txt"]
    return [Row(_id(name), (root / name).read_bytes(), _top_folder(name), "") for name in names]


def _id(name: str) -> str:
    """A relative path without its suffix, dots for slashes."""
    return str(PurePosixPath(name).with_suffix("")).replace("/", ".")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _top_folder(name: str) -> str:
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 else NO_SPEAKER


def _leads_inside(path: Path, root: Path) -> bool:
    """Whether a link's target exists inside ``root``; loops do not."""
    try:
        return path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def _unreadable(error: OSError) -> ValueError:
    return ValueError(f"{error.filename} cannot be read ({error.strerror}); check permissions")


def _refuse_unreadable(error: OSError) -> None:
    raise _unreadable(error) from error


@functools.cache
def _digest(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
