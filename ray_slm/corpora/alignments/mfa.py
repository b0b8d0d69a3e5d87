"""The Montreal aligner's output: a file for each utterance, in one of four formats."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from ray_slm.corpora.alignments import tiers
from ray_slm.corpora.alignments.csv_rows import timed_csv
from ray_slm.corpora.alignments.json_tiers import timed_json
from ray_slm.corpora.alignments.source import (
    Part,
    Reader,
    Record,
    TimedPhones,
    records_of_slice,
    slices,
)
from ray_slm.corpora.alignments.textgrid import timed_textgrid
from ray_slm.corpora.lines import Hash

FORMS: dict[str, tuple[str, Callable[[str], TimedPhones]]] = {
    "textgrid": (".TextGrid", timed_textgrid),
    "json": (".json", timed_json),
    "csv": (".csv", timed_csv),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MfaFiles:
    """Files of one form below the place of the alignments; "textgrid" is the long and the short.

    An utterance's file is ``<id>.TextGrid`` (``.json``, ``.csv``), ids with slashes in folders;
    ``slash`` is what stands for "/" where file names are flat.  The phones tier is ``phones`` or
    ``<speaker> - phones``.
    """

    REVISION: ClassVar[int] = 1

    digest: str
    form: Literal["textgrid", "json", "csv"] = "textgrid"
    slash: str = "/"
    aligned_by: str = "Montreal Forced Aligner"

    def __post_init__(self) -> None:
        """Refuse an unknown form."""
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r} must be one of {sorted(FORMS)}")

    def parts(self, root: Path) -> tuple[Part, ...]:
        """Slices of the tree."""
        return slices(root, FORMS[self.form][0])

    def records(self, root: Path, part: Part, seen: Hash) -> Iterator[Record]:
        """A record for each file."""
        return records_of_slice(root, FORMS[self.form][0], self.slash, part, seen)

    def load(self, root: Path) -> Reader:
        """The reader."""
        return _MfaReader(FORMS[self.form][1])


class _MfaReader:
    def __init__(self, parse: Callable[[str], TimedPhones]) -> None:
        self._parse = parse

    def timed(self, records: Mapping[str, Sequence[bytes]]) -> TimedPhones:
        """One utterance's file as timed phones."""
        return self._parse(tiers.file_of(records))
