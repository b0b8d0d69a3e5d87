"""What the formats with one utterance a line share: their files, and the table of symbols."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from ray_slm.corpora.alignments.source import Part, Record, files_like, keyed_lines
from ray_slm.corpora.alignments.symbols import Symbols, read_symbols
from ray_slm.corpora.lines import Hash, read_lines

SYMBOLS = "symbols"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyedFiles:
    """Text files (.gz too) in each line of which the utterance id is the first word.

    ``patterns`` are (role, glob) below the place of the alignments.  ``symbols`` names the table
    that translates integers to phones; empty when the files have phones themselves.
    """

    REVISION: ClassVar[int] = 1

    patterns: tuple[tuple[str, str], ...]
    symbols: str = ""

    def parts(self, root: Path) -> tuple[Part, ...]:
        """Every file; raises ValueError naming a pattern that fits none."""
        found = [
            Part(role, name)
            for role, pattern in self.patterns
            for name in files_like(root, pattern, role)
        ]
        if self.symbols:
            found += [Part(SYMBOLS, name) for name in files_like(root, self.symbols, SYMBOLS)]
        return tuple(found)

    def records(self, root: Path, part: Part, seen: Hash) -> Iterator[Record]:
        """A record for each line."""
        if part.role == SYMBOLS:
            for _ in read_lines(root / part.name, seen):
                pass  # the table belongs to the digest; ``table`` reads it
            return
        yield from keyed_lines(root / part.name, seen)

    def table(self, root: Path) -> Symbols:
        """The table of symbols."""
        return read_symbols(root / self.symbols if self.symbols else None)
