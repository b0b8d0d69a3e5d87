"""Two tables: which phones (``<utt> PH PH ...``) and for how many frames (``<utt> n n ...``).

So are the Kaldi-style data of several speech synthesizers (phones by name, ``sil`` in lower case),
and plain ``ali-to-phones`` output (integers) beside durations.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ray_slm.corpora.alignments.keyed import KeyedFiles
from ray_slm.corpora.alignments.source import (
    FRAME_SAMPLES_10_MS,
    Part,
    Reader,
    Record,
    TimedPhones,
    counted,
    malformed,
    only,
)
from ray_slm.corpora.alignments.symbols import Symbols
from ray_slm.corpora.lines import Hash

PHONES, DURATIONS = "phones", "durations"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhoneTable:
    """Files ``phones`` and ``durations`` (globs) below the place of the alignments.

    ``symbols`` names the table of integers to phones; empty when the files have phones
    themselves.  ``frame_samples`` is the length of a duration's unit at 16 kHz.
    """

    REVISION: ClassVar[int] = 1

    digest: str
    phones: str = "text"
    durations: str = "duration"
    symbols: str = ""
    frame_samples: int = FRAME_SAMPLES_10_MS
    aligned_by: str = "Kaldi"

    @property
    def _files(self) -> KeyedFiles:
        patterns = ((PHONES, self.phones), (DURATIONS, self.durations))
        return KeyedFiles(patterns=patterns, symbols=self.symbols)

    def parts(self, root: Path) -> tuple[Part, ...]:
        """Every file of both tables, and the table of symbols if there is one."""
        return self._files.parts(root)

    def records(self, root: Path, part: Part, seen: Hash) -> Iterator[Record]:
        """A record for each line."""
        return self._files.records(root, part, seen)

    def load(self, root: Path) -> Reader:
        """The reader."""
        return _TableReader(self._files.table(root), self.frame_samples)


class _TableReader:
    def __init__(self, symbols: Symbols, frame_samples: int) -> None:
        self._symbols, self._frame_samples = symbols, frame_samples

    def timed(self, records: Mapping[str, Sequence[bytes]]) -> TimedPhones:
        """One utterance's two lines as timed phones."""
        phones, lengths = only(records, PHONES).split(), only(records, DURATIONS).split()
        if len(phones) != len(lengths):
            raise malformed(f"{len(phones)} phones, but {len(lengths)} durations")
        odd = [length for length in lengths if not length.isdecimal()]
        if odd:
            raise malformed(f"the duration {odd[0]!r} is no number of frames")
        return counted(self._symbols(phones), [int(n) for n in lengths], self._frame_samples)
