"""Praat's TextGrid, long and short, as the Montreal aligner writes it.

Both spell the same sequence of numbers, strings and flags; the long form has words around them.
So one reader of that sequence reads both, and strings may span lines and hold doubled quotes.
"""

import re

from ray_slm.corpora.alignments import tiers
from ray_slm.corpora.alignments.source import TimedPhones, malformed

# A string, a flag, a bracketed index (long form: passed over), or a number that stands alone.
_TOKEN = re.compile(
    r'"(?P<string>(?:[^"]|"")*)"|(?P<flag><\w+>)|\[\s*\d*\s*\]|'
    r"(?<![\w.\[])(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.\]])"
)


def timed_textgrid(content: str) -> TimedPhones:
    """The phones tier of a TextGrid; raises AlignmentError saying what is out of shape."""
    tokens = _Tokens(content)
    kind, name = tokens.string(), tokens.string()
    if not kind.startswith("ooTextFile") or name != "TextGrid":
        raise malformed('the file does not begin with "ooTextFile" and "TextGrid"')
    tokens.number()
    end = tokens.number()
    if tokens.flag() != "<exists>":
        raise malformed("the file says that it has no tiers")
    found: dict[str, list[tiers.Interval]] = {}
    for _ in range(tokens.count()):
        kind, name = tokens.string(), tokens.string()
        is_intervals = kind == "IntervalTier"
        tokens.number()
        tokens.number()
        rows = [tokens.interval(whole=is_intervals) for _ in range(tokens.count())]
        if is_intervals and name in found:
            raise malformed(f"two tiers are named {name!r}")
        if is_intervals:
            found[name] = rows
    return tiers.timed(found[tiers.phones_tier(list(found))], end)


class _Tokens:
    """The values of a TextGrid in order; each method takes the next one or raises."""

    def __init__(self, content: str) -> None:
        self._found = _TOKEN.finditer(content)

    def string(self) -> str:
        """A quoted string."""
        return self._next("string").replace('""', '"')

    def flag(self) -> str:
        """A flag such as ``<exists>``."""
        return self._next("flag")

    def number(self) -> str:
        """A number as it is written."""
        return self._next("number")

    def count(self) -> int:
        """A number of things that follow."""
        written = self.number()
        if not written.isdecimal():
            raise malformed(f"{written!r} stands where a count should")
        return int(written)

    def interval(self, *, whole: bool) -> tiers.Interval:
        """An interval, or a point (one time only)."""
        begin = self.number()
        return tiers.Interval(begin, self.number() if whole else begin, self.string())

    def _next(self, kind: str) -> str:
        for token in self._found:
            if token.lastgroup is None:
                continue
            if token.lastgroup != kind:
                where = token.string.count("\n", 0, token.start()) + 1
                raise malformed(f"line {where}: {token[0]!r} stands where a {kind} should")
            return token[kind]
        raise malformed(f"the file breaks off where a {kind} should follow")
