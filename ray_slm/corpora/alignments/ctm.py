"""CTM files: one phone a line, ``<utt> <channel> <start> <duration> <phone> [<confidence>]``.

Times are in seconds.  Phones that were left out (silences, as some tools do) become silence; the
format does not say how long the audio is.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ray_slm.corpora.alignment import AlignmentError
from ray_slm.corpora.alignments.keyed import KeyedFiles
from ray_slm.corpora.alignments.source import (
    Part,
    Reader,
    Record,
    TimedPhones,
    malformed,
    samples,
    text,
)
from ray_slm.corpora.alignments.symbols import Symbols
from ray_slm.corpora.lines import Hash

ROLE = "phones"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ctm:
    """Files ``files`` (glob) below the place of the alignments.

    ``symbols`` names the table of integers to phones; empty when the files have phones
    themselves.  Lines of one utterance may stand in any order, in one file.
    """

    REVISION: ClassVar[int] = 1

    digest: str
    files: str = "*.ctm*"
    symbols: str = ""
    aligned_by: str = "Kaldi"

    @property
    def _files(self) -> KeyedFiles:
        return KeyedFiles(patterns=((ROLE, self.files),), symbols=self.symbols)

    def parts(self, root: Path) -> tuple[Part, ...]:
        """Every file, and the table of symbols if there is one."""
        return self._files.parts(root)

    def records(self, root: Path, part: Part, seen: Hash) -> Iterator[Record]:
        """A record for each line; comments (;;) are passed over."""
        for record in self._files.records(root, part, seen):
            if not record.id.startswith(b";;"):
                yield record

    def load(self, root: Path) -> Reader:
        """The reader."""
        return _CtmReader(self._files.table(root))


class _CtmReader:
    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols

    def timed(self, records: Mapping[str, Sequence[bytes]]) -> TimedPhones:
        """One utterance's lines, ordered by start, as timed phones."""
        rows = [text(line).split() for line in records.get(ROLE, ())]
        if not rows:
            raise AlignmentError("ALIGN_MISSING", "no line of the CTM files is of this utterance")
        for row in rows:
            if len(row) not in (4, 5):
                found = " ".join(row)
                raise malformed(f"{found!r} is no `channel start duration phone [confidence]`")
        channels = {row[0] for row in rows}
        if len(channels) > 1:
            raise malformed(f"phones of the channels {sorted(channels)}; keep one")
        timed = sorted((samples(row[1]), samples(row[2]), i) for i, row in enumerate(rows))
        return TimedPhones(
            self._symbols([rows[i][3] for _, _, i in timed]),
            [start for start, _, _ in timed],
            [start + length for start, length, _ in timed],
            None,
        )
