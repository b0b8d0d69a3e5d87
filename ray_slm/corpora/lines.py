"""The lines of text files, compressed or not, as a stream: constant memory, one file read once.

The file's digest is taken on the way.  A second thread reads and decompresses the next chunk
while this one is worked on, which is worth a processor where files hold tens of gigabytes.
"""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

CHUNK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"


class Hash(Protocol):
    """What ``hashlib`` makes: fed the bytes of a file as they are read."""

    def update(self, data: bytes, /) -> None:
        """Feed it."""
        ...


def read_lines(path: Path, seen: Hash) -> Iterator[bytes]:
    """The lines of a file without their ends, decompressed when it begins as gzip does.

    Raises ValueError naming the file when it is missing, damaged or cut short.
    """
    rest = b""
    for chunk in _ahead(_decompressed(path, seen)):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks, each made by another thread while the one before is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        coming = thread.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = thread.submit(next, chunks, None)
            yield chunk


def _decompressed(path: Path, seen: Hash) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            is_gzip = file.peek(2)[:2] == _GZIP
            chunks = _chunks(file, seen)
            yield from _unzipped(chunks) if is_gzip else chunks
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); fetch it again") from error


def _chunks(file: BinaryIO, seen: Hash) -> Iterator[bytes]:
    while data := file.read(CHUNK_BYTES):
        seen.update(data)
        yield data


def _unzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The content of gzip members one after the other, at most ``CHUNK_BYTES`` at a time."""
    member = zlib.decompressobj(wbits=31)
    for data in chunks:
        while data:
            if member.eof:
                member = zlib.decompressobj(wbits=31)
            yield member.decompress(data, CHUNK_BYTES)
            data = member.unused_data if member.eof else member.unconsumed_tail
    while not member.eof:
        if not (text := member.decompress(member.unconsumed_tail, CHUNK_BYTES)):
            raise EOFError("its gzip data break off")
        yield text
