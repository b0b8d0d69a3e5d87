"""The store: addresses to folders.  A result exists when its record does.

Stages work on local folders.  Where the root is a bucket these are a cache on each node: a result
is fetched when it is asked for, sent when it is committed, and its record, which lists the size
and sha256 of every file, comes last and only once.
"""

import dataclasses
import functools
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from filelock import FileLock

from ray_slm.scheduling import exchange
from ray_slm.scheduling.folders import (
    RECORD,
    SCRATCH,
    names,
    problems,
    result_files,
    write_atomically,
)
from ray_slm.scheduling.lease import BucketEntries, Entries, FolderEntries, check_fence
from ray_slm.scheduling.objects import SCHEME, Bucket, parse
from ray_slm.scheduling.records import parsed, record_text
from ray_slm.scheduling.stage import Stage

__all__ = ["CACHE", "RECORD", "SCRATCH", "Store", "open_store", "write_atomically"]
CACHE = "~/.cache/ray_slm"
FOREIGN = ".ray"
MOST_LISTINGS = 16  # beyond it one listing of all records is cheaper


def open_store(root: str | Path, cache: str | Path = CACHE) -> "Store":
    """The store at a folder, or at ``s3://bucket/prefix`` with its cache below ``cache``.

    The cache has the same path on every node; nothing in it is lost when it is deleted.
    """
    if not str(root).startswith(SCHEME):
        return Store(Path(root).resolve())
    bucket = parse(str(root))
    folder = Path(cache).expanduser().resolve() / "s3" / bucket.name / bucket.prefix
    return Store(folder, bucket)


@dataclasses.dataclass(frozen=True)
class Store:
    """Results under one root that every worker can reach.

    ``root`` is that folder, or this node's cache of ``bucket``.  ``fence`` is the number of the
    lease under which this process publishes; None publishes unchecked, as tests and repairs do.
    """

    root: Path
    bucket: Bucket | None = None
    fence: int | None = None
    _known: set[str] = dataclasses.field(default_factory=set, compare=False, repr=False)
    _here: set[str] = dataclasses.field(default_factory=set, compare=False, repr=False)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """What a process has seen stays there: a worker looks for itself."""
        return (Store, (self.root, self.bucket, self.fence))

    @property
    def location(self) -> str:
        """The root as every node can name it: a folder or a URL."""
        return self.bucket.url if self.bucket else str(self.root)

    @property
    def poll_seconds(self) -> float:
        """How often to look for new records: a folder answers for nothing, a bucket for money."""
        return 1.5 if self.bucket else 0.3

    @property
    def lease_entries(self) -> Entries:
        """Where the leases of this root lie."""
        return BucketEntries(self.bucket) if self.bucket else FolderEntries(self.root)

    def path(self, address: str, only: str = "") -> Path:
        """The folder of a result, whether or not it exists.

        A whole result is brought here first: all of it, or the files whose names hold ``only``.
        """
        folder = self.root / address
        away = self.bucket is not None and address not in self._here
        if away and (text := self._standing(address)) is not None:
            self._bring(address, text, only)
        return folder

    def has(self, address: str) -> bool:
        """Whether the result is whole; only a "no" is asked again."""
        if address not in self._known:
            if self.bucket is None:
                whole = (self.root / address / RECORD).is_file()
            else:
                whole = self.bucket.exists(exchange.record_key(address))
            if whole:
                self._known.add(address)
        return address in self._known

    def present(self, addresses: Iterable[str]) -> set[str]:
        """Those that are whole.  Storage is asked once for all parts of one stage."""
        wanted = set(addresses)
        if self.bucket is not None:
            parents = {a.rpartition("/")[0] + "/" for a in wanted - self._known}
            for parent in parents if len(parents) <= MOST_LISTINGS else {""}:
                for entry in self.bucket.entries(f"{exchange.RECORDS}/{parent}"):
                    self._known.add(exchange.address_of(entry.key))
            return wanted & self._known
        parents = {address.rpartition("/")[0] for address in wanted}
        there = {f"{parent}/{name}" for parent in parents for name in names(self.root / parent)}
        return {address for address in wanted & there if self.has(address)}

    def record(self, address: str) -> dict:
        """The record of a result.  Raises ValueError naming the file when it is damaged."""
        text = self._standing(address)
        if text is None:
            raise ValueError(f"{self._name(address)} is missing: run the study to make it")
        return parsed(text, self._name(address))

    def scratch(self, address: str) -> Path:
        """A folder for working state of one result, outside its record."""
        folder = self.root / address / SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def share(self, address: str, *only: str, exact: bool = False) -> None:
        """Let other nodes go on with an unfinished result: its files whose names hold ``only``.

        With ``exact`` what was taken away here is taken away there.  A folder is shared already.
        """
        if self.bucket is not None:
            _working(self.bucket).share(address, self.root / address, only, exact=exact)

    def gather(self, address: str, within: str = "", only: str = "") -> Path:
        """The folder of an unfinished result, with what other nodes shared of it.

        Of that what lies ``within`` a folder, with names that hold ``only``.
        """
        if self.bucket is not None:
            _working(self.bucket).gather(address, self.root / address, within, only)
        return self.root / address

    def foreign(self, name: str) -> str:
        """Where another program, Ray, may keep files that every node must reach: a path or URL."""
        return f"{self.location}/{FOREIGN}/{name}"

    def remove_foreign(self, name: str = "") -> None:
        """Take those files away; without a name all, which only the root's driver may do."""
        if not name:
            self._check_fence()
        shutil.rmtree(self.root / FOREIGN / name, ignore_errors=True)
        if self.bucket is not None:
            for entry in self.bucket.entries(f"{FOREIGN}/{name}".rstrip("/") + "/"):
                self.bucket.delete(entry.key)

    def send_copy(self, folder: Path) -> str:
        """Copy a folder below the root as it is, for people to find; where it is then."""
        name = folder.relative_to(self.root).as_posix()
        if self.bucket is not None:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self.bucket.upload(f"{name}/{path.relative_to(folder).as_posix()}", path)
        return f"{self.location}/{name}"

    def commit(
        self, stage: Stage, *, part: str = "", summary: Mapping[str, object], made: object
    ) -> None:
        """Publish a result: hash its files, then write the record atomically, last.

        Raises FencedError when another driver took the root over: nothing is published then.
        """
        address = stage[part].address
        folder = self.root / address
        folder.mkdir(parents=True, exist_ok=True)
        text = record_text(stage, part, folder, summary, made)
        if self.bucket is None:
            self._check_fence()
        else:
            ours = text
            text = exchange.publish(self.bucket, address, folder, ours, self._check_fence)
            if text != ours:
                exchange.fetch(self.bucket, address, json.loads(text)["files"], folder)
            exchange.tidy(self.bucket, address, json.loads(text)["files"])
        write_atomically(folder / RECORD, text)
        if not part:
            shutil.rmtree(folder / SCRATCH, ignore_errors=True)

    def versions(self, name: str) -> list[dict]:
        """All records under one stage name, newest first: what `why` compares with."""
        if self.bucket is None:
            found = (self.root / name).glob(f"*/{RECORD}")
            addresses = [path.parent.relative_to(self.root).as_posix() for path in found]
        else:
            entries = self.bucket.entries(f"{exchange.RECORDS}/{name}/")
            all_of_them = [exchange.address_of(entry.key) for entry in entries]
            addresses = [a for a in all_of_them if a.rpartition("/")[0] == name]
        records = [self.record(address) for address in addresses]
        return sorted(records, key=lambda record: -float(record["written_at"]))

    def verify(self, address: str) -> list[str]:
        """Re-hash every file of a result; one line for each that differs or is missing."""
        files = self.record(address)["files"]
        if self.bucket is not None:
            return exchange.problems(self.bucket, address, files)
        return problems(self.root / address, files, address)

    def _bring(self, address: str, text: str, only: str) -> None:
        """Fetch what is not here.  One process of a node at a time, so that none waits in vain."""
        assert self.bucket is not None
        folder = self.root / address
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            record = folder / RECORD
            if not record.is_file() or record.read_text() != text:
                files = parsed(text, self._name(address))["files"]
                exchange.fetch(self.bucket, address, files, folder, only)
                if only:
                    return
                for path in result_files(folder):
                    if path.relative_to(folder).as_posix() not in files:
                        path.unlink()
                write_atomically(record, text)
        self._here.add(address)

    def _standing(self, address: str) -> str | None:
        """The text of a record, where it counts; None when there is none."""
        if self.bucket is not None:
            content = self.bucket.get(exchange.record_key(address))
            return None if content is None else content.decode(errors="replace")
        path = self.root / address / RECORD
        return path.read_text(errors="replace") if path.is_file() else None

    def _name(self, address: str) -> str:
        if self.bucket is not None:
            return f"{self.bucket.url}/{exchange.record_key(address)}"
        return str(self.root / address / RECORD)

    def _check_fence(self) -> None:
        if self.fence is not None:
            check_fence(self.lease_entries, self.fence)


@functools.cache
def _working(bucket: Bucket) -> exchange.Working:
    """What this process sent and brought."""
    return exchange.Working(bucket)
