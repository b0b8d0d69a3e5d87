"""Kaldi's ``ali-to-phones`` in text form, with ``--per-frame`` or ``--write-lengths``.

Without either it tells which phones there are but not when: ``tables.py`` reads that form beside
a table of durations.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

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

ROLE = "phones"


@dataclasses.dataclass(frozen=True, kw_only=True)
class KaldiPhones:
    """Files ``files`` (glob) below the place of the alignments, phones named by ``symbols``.

    ``form`` "per-frame" is ``<utt> id id ...``, one id a frame: equal ids that follow each other
    are one phone, so only position-dependent phones (_B _E ...) keep two equal neighbors apart.
    "lengths" is ``<utt> id n ; id n ...``.  ``frame_samples`` is the frame shift at 16 kHz.
    """

    REVISION: ClassVar[int] = 1

    digest: str
    form: Literal["per-frame", "lengths"]
    files: str = "ali-phones*"
    symbols: str = "phones.txt"
    frame_samples: int = FRAME_SAMPLES_10_MS
    aligned_by: str = "Kaldi"

    def __post_init__(self) -> None:
        """Refuse the form that tells no times."""
        if self.form not in ("per-frame", "lengths"):
            raise ValueError(
                f"form={self.form!r} must be 'per-frame' or 'lengths'; plain ali-to-phones tells "
                "no times: read it with PhoneTable beside a table of durations"
            )

    @property
    def _files(self) -> KeyedFiles:
        return KeyedFiles(patterns=((ROLE, self.files),), symbols=self.symbols)

    def parts(self, root: Path) -> tuple[Part, ...]:
        """Every file, and the table of symbols."""
        return self._files.parts(root)

    def records(self, root: Path, part: Part, seen: Hash) -> Iterator[Record]:
        """A record for each line."""
        return self._files.records(root, part, seen)

    def load(self, root: Path) -> Reader:
        """The reader."""
        return _KaldiReader(self._files.table(root), self.form, self.frame_samples)


class _KaldiReader:
    def __init__(self, symbols: Symbols, form: str, frame_samples: int) -> None:
        self._symbols, self._form, self._frame_samples = symbols, form, frame_samples

    def timed(self, records: Mapping[str, Sequence[bytes]]) -> TimedPhones:
        """One utterance's line as timed phones."""
        line = only(records, ROLE)
        ids, lengths = (_runs if self._form == "per-frame" else _pairs)(line)
        return counted(self._symbols(ids), lengths, self._frame_samples)


def _runs(line: str) -> tuple[list[str], list[int]]:
    runs = [(each, len(list(group))) for each, group in itertools.groupby(line.split())]
    return [each for each, _ in runs], [length for _, length in runs]


def _pairs(line: str) -> tuple[list[str], list[int]]:
    pairs = [pair.split() for pair in line.split(";")]
    for pair in pairs:
        if len(pair) != 2 or not pair[1].isdecimal():
            raise malformed(f"{' '.join(pair)!r} is no `id frames` of `id frames ; id frames ...`")
    return [pair[0] for pair in pairs], [int(pair[1]) for pair in pairs]
