"""What lies in a result's folder: which files belong to the result, and their digests.

``record.json`` comes last and is not listed in itself.  What is under ``scratch/``, starts with
a dot or ends in ``.tmp`` is working state; a folder with a record of its own is another result.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

RECORD = "record.json"
SCRATCH = "scratch"

_digests: dict[tuple[Path, int, int], str] = {}


def result_files(folder: Path) -> Iterator[Path]:
    """The files of a result: neither its record, nor scratch, nor parts with their own record."""
    for path in sorted(folder.iterdir()):
        if _is_working(path):
            continue
        if path.is_file() and path.name != RECORD:
            yield path
        elif path.is_dir() and path.name != SCRATCH and not (path / RECORD).exists():
            yield from result_files(path)


def shared_files(folder: Path, only: tuple[str, ...]) -> Iterator[str]:
    """Names, relative to the folder, of the files of an unfinished result that hold one of these.

    In the order in which they were written.  Scratch is included: what another node needs to go
    on with lies there.
    """
    if not folder.is_dir():
        return
    scratch = folder / SCRATCH
    found = [*result_files(folder), *(result_files(scratch) if scratch.is_dir() else ())]
    for path in sorted(found, key=_written_at):
        name = path.relative_to(folder).as_posix()
        if not only or any(part in name for part in only):
            yield name


def names(folder: Path) -> list[str]:
    """What a folder holds; nothing when there is no such folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208 (asked several times a second)
    except (FileNotFoundError, NotADirectoryError):
        return []


def inside(folder: Path, name: str, whose: str) -> Path:
    """The path of a file that a record or key names.  Raises ValueError when it lies outside."""
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
        raise ValueError(
            f"{whose} names the file {name!r}, which is not inside its folder; it was not "
            "written by this program: delete its record or that object, and run again"
        )
    return folder.joinpath(*parts)


def listed(folder: Path) -> dict[str, dict[str, object]]:
    """The files of a result as its record lists them: by name, size in bytes and SHA-256."""
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": digest(path),
        }
        for path in result_files(folder)
    }


def problems(folder: Path, files: Mapping[str, Mapping[str, object]], whose: str) -> list[str]:
    """One line for each file that is missing or differs from what a record says of it."""
    found = []
    for name, expected in files.items():
        path = inside(folder, name, whose)
        if not path.is_file():
            found.append(f"{path}: missing")
        elif path.stat().st_size != expected["bytes"] or digest(path) != expected["sha256"]:
            found.append(f"{path}: content differs from its record")
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_once(path: Path) -> str:
    """The same, remembered by this process while the file's size and time of change stay."""
    stat = path.stat()
    key = (path, stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        _digests[key] = digest(path)
    return _digests[key]


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees all of it or none, also after a power cut."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _written_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # pruned a moment ago
        return 0


def _is_working(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix == ".tmp"
