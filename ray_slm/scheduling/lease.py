"""One driver at a time per root: a numbered lease that only its holder renews.

The lease is the highest numbered entry of ``.lease``; taking it means creating the next number,
which only one process can do.  Its number is the fence: whoever finds a higher one stops, and
nothing is published under a lower one.  Ages are by the storage's clock, never by a host's.
"""

import contextlib
import dataclasses
import logging
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ray_slm.errors import FencedError, ResourceError, StorageError
from ray_slm.scheduling.holder import Holder, myself, parsed
from ray_slm.scheduling.objects import Bucket

logger = logging.getLogger(__name__)

FOLDER = ".lease"
TTL_SECONDS = 60.0
BEATS_PER_TTL = 6


class Entries(Protocol):
    """Small named contents with an atomic creation: a folder, or a prefix of a bucket."""

    def newest(self) -> str:
        """The name that sorts last; empty when there is none."""
        ...

    def age_seconds(self, name: str) -> float:
        """Since an entry was last written, by the storage's clock."""
        ...

    def read(self, name: str) -> bytes:
        """The content of an entry; empty when it has none yet."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Create an entry; False when another process did."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Replace an entry of one's own."""
        ...


class Current(NamedTuple):
    """The newest lease: its number (0 when there was none), holder and age in seconds."""

    number: int
    holder: Holder | None
    age_seconds: float


class FolderEntries:
    """Entries as files; exclusive creation is atomic on local file systems and on NFS."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def newest(self) -> str:
        """Of the files in the folder, if it exists."""
        return max((path.name for path in self._folder.glob("[0-9]*.json")), default="")

    def age_seconds(self, name: str) -> float:
        """By the file system's clock, read off a file written now."""
        clock = self._folder / f".clock-{uuid.uuid4().hex}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        return now - (self._folder / name).stat().st_mtime

    def read(self, name: str) -> bytes:
        """The file's content."""
        return (self._folder / name).read_bytes()

    def create(self, name: str, content: bytes) -> bool:
        """By O_EXCL."""
        self._folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        try:
            descriptor = os.open(self._folder / name, flags, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return True

    def write(self, name: str, content: bytes) -> None:
        """By a rename, so that a reader never sees half of it."""
        draft = self._folder / f".{name}-{uuid.uuid4().hex}"
        draft.write_bytes(content)
        draft.replace(self._folder / name)


class BucketEntries:
    """Entries as objects, created by conditional put."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def newest(self) -> str:
        """Of one listing."""
        keys = [entry.key for entry in self._bucket.entries(f"{FOLDER}/")]
        return max(keys, default="").removeprefix(f"{FOLDER}/")

    def age_seconds(self, name: str) -> float:
        """By the server's clock."""
        (entry,) = self._bucket.entries(f"{FOLDER}/{name}")
        return entry.age_seconds

    def read(self, name: str) -> bytes:
        """The object's content."""
        return self._bucket.get(f"{FOLDER}/{name}") or b""

    def create(self, name: str, content: bytes) -> bool:
        """By If-None-Match."""
        return self._bucket.create(f"{FOLDER}/{name}", content)

    def write(self, name: str, content: bytes) -> None:
        """A plain put: only the holder writes its entry again."""
        self._bucket.put(f"{FOLDER}/{name}", content)


def current(entries: Entries) -> Current:
    """The newest lease there is."""
    name = entries.newest()
    if not name:
        return Current(0, None, 0.0)
    return Current(_number(name), parsed(entries.read(name)), entries.age_seconds(name))


def check_fence(entries: Entries, number: int) -> None:
    """Raise FencedError when a newer lease than ``number`` exists."""
    newest = entries.newest()
    if newest and _number(newest) > number:
        holder = parsed(entries.read(newest)) or "another driver"
        raise FencedError(
            f"the root was taken over by {holder} (lease {_number(newest)}, this one "
            f"is {number}): nothing more is published here; run again when that driver has ended"
        )


@contextlib.contextmanager
def held(entries: Entries, where: str, ttl_seconds: float = TTL_SECONDS) -> Iterator["Lease"]:
    """Hold the lease of a root; ResourceError naming the holder when a live driver has it."""
    lease = Lease(entries, _acquired(entries, where, ttl_seconds), ttl_seconds)
    try:
        yield lease
    finally:
        lease.release()


class Lease:
    """A lease that this process holds, renewed by a thread of its own."""

    def __init__(self, entries: Entries, taken: tuple[int, Holder], ttl_seconds: float) -> None:
        self.number, self._holder = taken
        self._entries, self._pause = entries, ttl_seconds / BEATS_PER_TTL
        self._fenced: FencedError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise FencedError when the last beat saw a newer lease; costs nothing."""
        if self._fenced is not None:
            raise self._fenced

    def release(self) -> None:
        """Let the next driver start at once."""
        self._stop.set()
        self._thread.join()
        self._write(dataclasses.replace(self._holder, released=True))

    def _beat(self) -> None:
        while not self._stop.wait(self._pause):
            self._write(self._holder)

    def _write(self, holder: Holder) -> None:
        """Renew.  A storage that does not answer is no reason to stop: the fence decides."""
        try:
            check_fence(self._entries, self.number)
            self._entries.write(_name(self.number), holder.content())
        except FencedError as error:
            self._fenced = error
            self._stop.set()
        except (OSError, ValueError, StorageError) as error:
            logger.warning("the lease was not renewed: %s", error)


def _acquired(entries: Entries, where: str, ttl_seconds: float) -> tuple[int, Holder]:
    found = current(entries)
    fresh = found.number and found.age_seconds <= ttl_seconds
    if fresh and not (found.holder and found.holder.is_gone):
        raise ResourceError(_refusal(where, found, ttl_seconds))
    mine = myself()
    number = found.number + 1
    if not entries.create(_name(number), mine.content()) or current(entries).number != number:
        raise ResourceError(_refusal(where, current(entries), ttl_seconds))
    if found.holder and not found.holder.released:
        logger.warning("%s: taken over from %s, which ended without a word", where, found.holder)
    return number, mine


def _refusal(where: str, found: Current, ttl_seconds: float) -> str:
    return (
        f"another driver works in {where}: {found.holder or 'one that is just starting'}, last "
        f"heard of {max(0.0, found.age_seconds):.0f} s ago; wait for it, use another --root, or, "
        f"if it is gone, run again in {ttl_seconds:.0f} s"
    )


def _name(number: int) -> str:
    return f"{number:08d}.json"


def _number(name: str) -> int:
    return int(name.split(".")[0])
