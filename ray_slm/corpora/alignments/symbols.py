"""Kaldi's table of symbols: which phone an integer in an alignment stands for."""

from collections.abc import Sequence
from pathlib import Path

from ray_slm.corpora.alignments.source import malformed

_EPSILON = "<eps>"


class Symbols:
    """Integers to symbols; without a table, symbols stand in the alignments themselves."""

    def __init__(self, names: dict[str, str] | None) -> None:
        self._names = names

    def __call__(self, written: Sequence[str]) -> list[str]:
        """The symbols; raises AlignmentError (ALIGN_MALFORMED) for an integer not in the table."""
        if self._names is None:
            return list(written)
        try:
            return [self._names[each] for each in written]
        except KeyError as error:
            raise malformed(f"{error.args[0]!r} is not in the table of symbols") from None


def read_symbols(path: Path | None) -> Symbols:
    """A table of lines ``<symbol> <integer>``; epsilon and disambiguation symbols are no phones.

    Raises ValueError naming the line that is out of shape, or the integer that stands twice.
    """
    if path is None:
        return Symbols(None)
    names: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or not fields[1].isdecimal() or fields[1] in names:
            raise ValueError(f"{path}:{number}: {line!r} is no new `<symbol> <integer>`; mend it")
        names[fields[1]] = fields[0]
    dropped = (_EPSILON, "#")
    return Symbols({i: name for i, name in names.items() if not name.startswith(dropped)})
