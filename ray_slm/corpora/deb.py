"""Reads one file out of a Debian package in memory, so that data packages need no installing.

A .deb is an ``ar`` archive: an 8-byte magic, then members with a 60-byte header each.
"""

import io
import tarfile
from pathlib import Path

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60


def read_deb_files(deb: Path, suffixes: tuple[str, ...]) -> list[bytes]:
    """The contents of the packaged files whose paths end in ``suffixes``, in that order.

    Raises ValueError when ``deb`` is no Debian package or a suffix does not name one file.
    """
    with tarfile.open(fileobj=io.BytesIO(_data_member(deb))) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        contents = []
        for suffix in suffixes:
            found = [member for member in members if member.name.endswith(suffix)]
            if len(found) != 1:
                raise ValueError(
                    f"{deb}: {len(found)} files end in {suffix!r}, expected one; "
                    "delete it and run `make setup`"
                )
            file = tar.extractfile(found[0])
            assert file is not None, "a regular file can be read"
            contents.append(file.read())
    return contents


def _data_member(deb: Path) -> bytes:
    """The bytes of ``data.tar.*``, still compressed."""
    archive = deb.read_bytes()
    if not archive.startswith(_MAGIC):
        raise ValueError(f"{deb} is not a Debian package; delete it and run `make setup`")
    at = len(_MAGIC)
    while at + _HEADER_BYTES <= len(archive):
        header = archive[at : at + _HEADER_BYTES]
        size = int(header[48:58])
        at += _HEADER_BYTES
        if header[:16].startswith(b"data.tar"):
            return archive[at : at + size]
        at += size + size % 2  # members start at even offsets
    raise ValueError(f"{deb} has no data.tar; delete it and run `make setup`")
