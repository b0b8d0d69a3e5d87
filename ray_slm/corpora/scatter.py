"""Records of a long stream, put down by shard in bounded memory and taken up one shard at a time.

A folder holds runs: ``run-00000.bin`` has the records of one stretch of the stream, shard by
shard, and ``run-00000.npy`` where each shard begins.  The folder appears at once, when the stream
has ended, so its existence means that it is whole.
"""

import shutil
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

MOST_BYTES = 8 << 20  # records kept before a run is written: what the memory is bounded by
_HEAD = struct.Struct("<II")


class Scatter:
    """Writes ``folder``; a context, so that a stream that fails leaves nothing behind."""

    def __init__(self, folder: Path, num_shards: int, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.tmp")
        self._kept = [bytearray() for _ in range(num_shards)]
        self._num_bytes = self._num_runs = 0

    def __enter__(self) -> "Scatter":
        self._draft.mkdir(parents=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
            return
        self._write_run()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._draft.replace(self._folder)

    def add(self, shard: int, key: bytes, content: bytes) -> None:
        """Put down one record for a shard."""
        record = _HEAD.pack(len(key), len(content)) + key + content
        self._kept[shard] += record
        self._num_bytes += len(record)
        if self._num_bytes >= self._most_bytes:
            self._write_run()

    def _write_run(self) -> None:
        starts = np.cumsum([0, *map(len, self._kept)], dtype=np.int64)
        stem = self._draft / f"run-{self._num_runs:05d}"
        with stem.with_suffix(".bin").open("wb") as file:
            for records in self._kept:
                file.write(records)
                records.clear()
        np.save(stem.with_suffix(".npy"), starts)
        self._num_runs, self._num_bytes = self._num_runs + 1, 0


def gather(folder: Path, shard: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, content) of one shard's records in the order in which they were put down."""
    for path in sorted(folder.glob("run-*.bin")):
        begin, end = np.load(path.with_suffix(".npy"), mmap_mode="r")[shard : shard + 2].tolist()
        with path.open("rb") as file:
            file.seek(begin)
            yield from _records(file.read(end - begin))


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        key_size, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield data[at : at + key_size], data[at + key_size : at + key_size + size]
        at += key_size + size
