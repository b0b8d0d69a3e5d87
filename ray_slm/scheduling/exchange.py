"""Results between a node's folders and a bucket: data first, the record last and only once.

``data/<address>/<folder>/<12 hex>-<name>`` holds a file under the head of its SHA-256, so two
writers never overwrite each other's bytes; ``records/<address>.json`` says which of them count.
Working state (shards of an unfinished stage, resume checkpoints) travels under the same keys.
"""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from ray_slm.errors import StorageError
from ray_slm.scheduling.folders import SCRATCH, digest, digest_once, inside, shared_files
from ray_slm.scheduling.objects import Bucket, Entry

RECORDS, DATA = "records", "data"
# Files whose names begin so differ between runs of the same work: wall-clock figures, and the page
# of a report, which names the commit that rendered it (its tables.json says the same without).
VOLATILE = ("timing", "index.html")
GROWING = ".jsonl"  # files to which a writer may append between their digest and their upload
HEAD = 12  # hex digits of the SHA-256 in a key
STREAMS = 8
TRIES = 3

Files = Mapping[str, Mapping[str, object]]  # by name: bytes and sha256, as in a record


def record_key(address: str) -> str:
    """Where the record of a result lies in the bucket."""
    return f"{RECORDS}/{address}.json"


def address_of(key: str) -> str:
    """The address whose record lies under a key."""
    return key.removeprefix(f"{RECORDS}/").removesuffix(".json")


def data_key(address: str, name: str, sha256: str) -> str:
    """Where a file of a result lies in the bucket."""
    path = PurePosixPath(DATA, address, name)
    return str(path.with_name(f"{sha256[:HEAD]}-{path.name}"))


def publish(
    bucket: Bucket, address: str, folder: Path, text: str, may_publish: Callable[[], None]
) -> str:
    """Upload the files that a record lists, then the record; the record that stands afterwards.

    It is another than ``text`` when another writer was first with an equal result.  Raises
    StorageError when that one is not equal; whatever ``may_publish`` raises before the record.
    """
    files: Files = json.loads(text)["files"]
    there = {entry.key: entry.num_bytes for entry in bucket.entries(f"{DATA}/{address}/")}

    def send(name: str) -> None:
        key = data_key(address, name, str(files[name]["sha256"]))
        if there.get(key) != files[name]["bytes"]:
            bucket.upload(key, folder / name)

    _in_parallel(send, files)
    may_publish()
    if bucket.create(record_key(address), text.encode()):
        return text
    standing = (bucket.get(record_key(address)) or b"").decode()
    if _essence(standing) != _essence(text):
        raise StorageError(
            f"{bucket.url}/{record_key(address)} was published with other content by another "
            "writer: the same recipe gave different bytes; compare both with `ray-slm verify`"
        )
    return standing


def tidy(bucket: Bucket, address: str, files: Files) -> None:
    """Remove the working state of a published result, and other versions of its files."""
    standing = {data_key(address, name, str(file["sha256"])) for name, file in files.items()}
    for entry in bucket.entries(f"{DATA}/{address}/"):
        name = _name(address, entry.key)
        of_scratch = PurePosixPath(name).parts[0] == SCRATCH
        if of_scratch or (name in files and entry.key not in standing):
            bucket.delete(entry.key)


def fetch(bucket: Bucket, address: str, files: Files, folder: Path, only: str = "") -> None:
    """Bring the files whose names hold ``only`` here; each is checked against its SHA-256."""

    def bring(name: str) -> None:
        path, sha256 = inside(folder, name, address), str(files[name]["sha256"])
        if not (path.is_file() and digest_once(path) == sha256):
            _download(bucket, data_key(address, name, sha256), path, sha256)

    _in_parallel(bring, [name for name in files if only in name])


def problems(bucket: Bucket, address: str, files: Files) -> list[str]:
    """What is wrong with the bucket's copy of each file; reads every byte."""
    found = []
    with tempfile.NamedTemporaryFile(prefix="ray_slm-verify-") as aside:
        for name, file in files.items():
            key = data_key(address, name, str(file["sha256"]))
            sha256 = bucket.download(key, Path(aside.name))
            if sha256 is None:
                found.append(f"{bucket.url}/{key}: missing")
            elif sha256 != file["sha256"]:
                found.append(f"{bucket.url}/{key}: content differs from its record")
    return found


class Working:
    """The working state of unfinished results, as one process sends and brings it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._sent: dict[tuple[str, str], str] = {}  # (address, name) -> key in the bucket
        self._lock = threading.Lock()

    def share(self, address: str, folder: Path, only: tuple[str, ...], *, exact: bool) -> None:
        """Send files that changed, the oldest first: a file that says "done" follows the rest.

        With ``exact`` what is gone from here is taken away there too.
        """
        with self._lock:
            names = list(shared_files(folder, only))
            for name in names:
                self._send(address, folder, name)
            for there, name in list(self._sent) if exact else ():
                matches = not only or any(part in name for part in only)
                if there == address and matches and name not in names:
                    self._bucket.delete(self._sent.pop((address, name)))

    def gather(self, address: str, folder: Path, within: str, only: str) -> None:
        """Bring what lies under ``within``, holds ``only`` and is not here; of two, the longer."""
        with self._lock:
            newest: dict[str, Entry] = {}
            for entry in self._bucket.entries(f"{DATA}/{address}/{within}"):
                name = _name(address, entry.key)
                if only not in name:
                    continue
                held = newest.setdefault(name, entry)
                if (-entry.age_seconds, entry.num_bytes) > (-held.age_seconds, held.num_bytes):
                    newest[name] = entry
            _in_parallel(lambda name: self._bring(address, folder, name, newest[name]), newest)

    def _send(self, address: str, folder: Path, name: str) -> None:
        try:
            if not name.endswith(GROWING):
                self._upload(address, name, folder / name, digest_once(folder / name))
                return
            with tempfile.NamedTemporaryFile(prefix="ray_slm-share-") as aside:
                path = Path(shutil.copyfile(folder / name, aside.name))
                self._upload(address, name, path, digest(path))
        except FileNotFoundError:
            return  # pruned while we looked: nothing to keep

    def _upload(self, address: str, name: str, path: Path, sha256: str) -> None:
        key, before = data_key(address, name, sha256), self._sent.get((address, name))
        if key == before:
            return
        self._bucket.upload(key, path)
        self._sent[address, name] = key
        if before is not None:
            self._bucket.delete(before)

    def _bring(self, address: str, folder: Path, name: str, entry: Entry) -> None:
        path = inside(folder, name, address)
        head = PurePosixPath(entry.key).name[:HEAD]
        size = path.stat().st_size if path.is_file() else -1
        if size < entry.num_bytes or (size == entry.num_bytes and digest_once(path)[:HEAD] != head):
            _download(self._bucket, entry.key, path, head)
        self._sent[address, name] = entry.key


def _download(bucket: Bucket, key: str, path: Path, sha256: str) -> None:
    """Into place by a rename, once its digest begins with ``sha256``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    found = None
    for _ in range(TRIES):
        found = bucket.download(key, draft)
        if found is not None and found.startswith(sha256):
            draft.replace(path)
            return
    draft.unlink(missing_ok=True)
    what = "is missing" if found is None else f"has the SHA-256 {found}, not {sha256}"
    raise StorageError(f"{bucket.url}/{key} {what}; delete the result's record and run again")


def _name(address: str, key: str) -> str:
    """The file's name, relative to its result's folder."""
    path = PurePosixPath(key).relative_to(PurePosixPath(DATA, address))
    return str(path.with_name(path.name[HEAD + 1 :]))


def _essence(text: str) -> object:
    """What two records of one result agree on, whenever and by whom they were made."""
    record = json.loads(text)
    files = {
        name: file
        for name, file in record["files"].items()
        if not PurePosixPath(name).name.startswith(VOLATILE)
    }
    return record["identity"], files


def _in_parallel(action: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(action, names))
