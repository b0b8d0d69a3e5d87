"""Reads character vectors from R's lazy-load databases, so that R itself is not needed.

Such a database is a pair: ``.rdx``, a compressed serialized list whose ``variables`` map a name
to (offset, length), and ``.rdb``, the compressed serialized values.  Only the types that text
data sets use are read; R's "Internals" manual, section "Serialization Formats", has them all.
"""

import bz2
import gzip
import lzma
import struct
import zlib

_LZMA2: list[dict[str, int]] = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
_EMPTY = {254, 253, 242, 251, 252}  # NULL and the special environments
_SYMBOL, _PAIRLIST, _STRING, _ALTREP, _REFERENCE = 1, 2, 9, 238, 255
_LOGICAL, _INTEGER, _REAL, _CHARACTER, _LIST = 10, 13, 14, 16, 19


def read_lazy_load(index: bytes, data: bytes) -> dict[str, list[str]]:
    """{name: lines} of a database given the contents of its ``.rdx`` and ``.rdb`` files.

    Missing strings (NA) read as empty.  Raises ValueError on a type this reader does not know.
    """
    plain = gzip.decompress(index) if index[:2] == b"\x1f\x8b" else zlib.decompress(index)
    contents = read_serialized(plain)
    if not isinstance(contents, dict) or not isinstance(contents.get("variables"), dict):
        raise ValueError("the R index has no 'variables'; it is not a lazy-load database")
    return {
        name: _lines(name, read_serialized(_decompress(data[start : start + length])))
        for name, (start, length) in contents["variables"].items()
    }


def read_serialized(data: bytes) -> object:
    """The value in R's binary XDR serialization: str, list, dict or None."""
    return _Reader(data).read()


def _lines(name: str, value: object) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"the R value {name!r} is a {type(value).__name__}, not lines of text")
    return [line or "" for line in value]


def _decompress(chunk: bytes) -> bytes:
    """A 4-byte size, then zlib data, or a tag byte and data of another codec."""
    tag, body = chunk[4:5], chunk[5:]
    if tag == b"2":
        return bz2.decompress(body)
    if tag == b"Z":
        return lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_LZMA2).decompress(body)
    return body if tag == b"0" else zlib.decompress(chunk[4:])


class _Reader:
    """A cursor over one serialized value; symbols seen are numbered, later ones refer back."""

    def __init__(self, data: bytes) -> None:
        if data[:2] != b"X\n":
            raise ValueError(f"R data begins with {data[:2]!r}; only binary XDR is read")
        self.data, self.at = data, 2
        self.symbols: list[object] = []

    def read(self) -> object:
        """The value after the header."""
        version = self.integer()
        self.at += 8  # the writer's version and the oldest that can read it
        if version == 3:
            length = self.integer()  # of the native encoding's name
            self.at += length
        return self.item()

    def integer(self) -> int:
        """A big-endian 32-bit integer."""
        return int(self.array("i", 1)[0])

    def array(self, code: str, count: int) -> list:
        """``count`` big-endian numbers of one struct code."""
        layout = struct.Struct(f">{count}{code}")
        values = list(layout.unpack_from(self.data, self.at))
        self.at += layout.size
        return values

    def item(self) -> object:
        """Any value: a flag word says what follows."""
        flags = self.integer()
        kind = flags & 0xFF
        if kind in _EMPTY:
            return None
        if kind == _SYMBOL:
            self.symbols.append(self.item())
            return self.symbols[-1]
        if kind == _REFERENCE:
            return self.symbols[((flags >> 8) or self.integer()) - 1]
        if kind == _PAIRLIST:
            return self.pairlist(flags)
        if kind == _STRING:
            return self.string()
        if kind == _ALTREP:  # a compact form: class, state, attributes
            _, state, _ = self.item(), self.item(), self.item()
            return state
        return self.vector(kind, has_attributes=bool(flags & 0x200))

    def string(self) -> str | None:
        """One string; length -1 is NA."""
        length = self.integer()
        if length == -1:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def vector(self, kind: int, *, has_attributes: bool) -> object:
        """Numbers, strings or a list; a named list becomes a dict."""
        if kind in (_CHARACTER, _LIST):
            values = [self.item() for _ in range(self.integer())]
        elif kind in (_LOGICAL, _INTEGER):
            values = self.array("i", self.integer())
        elif kind == _REAL:
            values = self.array("d", self.integer())
        else:
            raise ValueError(f"R type {kind} at byte {self.at} is not one this reader knows")
        attributes = self.item() if has_attributes else None
        names = attributes.get("names") if isinstance(attributes, dict) else None
        if kind == _LIST and isinstance(names, list):
            return dict(zip(names, values, strict=True))
        return values

    def pairlist(self, flags: int) -> dict[object, object]:
        """A linked list of tagged values."""
        values: dict[object, object] = {}
        while flags & 0xFF == _PAIRLIST:
            if flags & 0x200:
                self.item()
            tag = self.item() if flags & 0x400 else None
            values[tag] = self.item()
            flags = self.integer()
        return values
