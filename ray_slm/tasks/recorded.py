"""Items that exist as files of a published benchmark: read from the user's copy, joined by key.

Published scorers pair files by their order or drop what is missing; here a row that does not find
its partner is refused by name.  A benchmark's task reads its gold file into ``Recording``s; each
has the forms that exist: text, phones, audio.
"""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ray_slm.corpora.inventory import DEFAULT_FILE, Inventory, read_inventory
from ray_slm.tasks.task import Pair

PHONE_SPELLINGS = "phones.txt"  # beside the gold file: how it spells our phones
_UNSAFE = re.compile(r"[^a-z0-9]+")

Row = Mapping[str, str]


class Recording(NamedTuple):
    """One item: its id here, the name official files know it by, and the forms it has."""

    id: str
    official: str
    voice: str
    audio: str  # relative to the benchmark's folder; "" where there is none
    text: str  # "" where there is none
    phones: tuple[str, ...]  # as the gold file spells them; () where there are none


class RecordedItems(NamedTuple):
    """What a benchmark holds; ``gold`` are the rows that official figures are grouped by."""

    pairs: tuple[Pair, ...]
    recordings: tuple[Recording, ...]
    gold: tuple[Row, ...]  # with "utterance", one for each recording
    remarks: dict[str, object]


class RecordedTask(Protocol):
    """A frozen dataclass; every field is identity, and ``digest`` pins the user's copy."""

    @property
    def name(self) -> str:
        """As in addresses."""
        ...

    @property
    def title(self) -> str:
        """As printed."""
        ...

    @property
    def place(self) -> str:
        """The name under which the user says where the copy lies."""
        ...

    @property
    def digest(self) -> str:
        """What ``digest_of`` says of the copy."""
        ...

    def digest_of(self, folder: Path) -> str:
        """Of the files that the task reads."""
        ...

    def recorded(self, folder: Path) -> RecordedItems:
        """The items; ValueError names rows that are missing, doubled or without a partner."""
        ...


def check_digest(task: RecordedTask, folder: Path) -> None:
    """Raise ValueError unless ``folder`` is the copy that the task means."""
    found = task.digest_of(folder)
    if found != task.digest:
        raise ValueError(
            f"{folder} is not the copy of {task.name} that is meant by digest={task.digest!r}; if "
            f'it should be, set digest="{found}"'
        )


def digest_of_gold(root: Path) -> str:
    """Of a gold file, and of the names and sizes of the audio beside it."""
    audio = [path.name for path in root.glob("*.wav")] if root.is_dir() else []
    return digest_of_files(root, ["gold.csv"], audio)


def digest_of_files(folder: Path, text: Iterable[str], audio: Iterable[str] = ()) -> str:
    """16 hex digits of the content of text files, and of the names and sizes of audio files."""
    sums = hashlib.sha256()
    for name in text:
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing: is this the folder of the benchmark?")
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        sums.update(f"{name} {content}\n".encode())
    for name in sorted(audio):
        sums.update(f"{name} {(folder / name).stat().st_size}\n".encode())
    return sums.hexdigest()[:16]


def read_table(path: Path, columns: Collection[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; ValueError names the columns that it lacks."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: is this the folder of the benchmark?")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = sorted(set(columns) - set(reader.fieldnames or ()))
        if lacking:
            raise ValueError(f"{path} has no columns {lacking}; it has {reader.fieldnames}")
        rows = [dict(row) for row in reader]
    ragged = [i for i, row in enumerate(rows, start=2) if None in row or None in row.values()]
    if ragged or not rows:
        raise ValueError(f"{path}: lines {ragged[:5]} have other columns than the header, or none")
    return rows


def is_word(row: Row, path: Path) -> bool:
    """Whether a gold row is the correct side; ValueError for anything but 0 and 1."""
    if row["correct"] not in ("0", "1"):
        raise ValueError(f"{path}: correct is {row['correct']!r} for {row['filename']}: use 0 or 1")
    return row["correct"] == "1"


def refuse_doubled(what: str, ids: Iterable[str]) -> None:
    """Raise ValueError naming what stands more than once."""
    doubled = [each for each, count in Counter(ids).items() if count > 1]
    if doubled:
        raise ValueError(f"{what}: duplicate {named(doubled)}; each may stand once")


def named(ids: Collection[str]) -> str:
    """The first five, and how many more."""
    shown = ", ".join(sorted(ids)[:5])
    return shown + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def slug(text: str) -> str:
    """``text`` in the letters that ids may have."""
    return _UNSAFE.sub("-", text.lower()).strip("-")


def slugs(what: str, names: Iterable[str]) -> dict[str, str]:
    """A safe name for each; ValueError when two would be one."""
    found = {name: slug(name) for name in names}
    refuse_doubled(what, found.values())
    return found


def audio_files(folder: Path, names: Sequence[str], suffix: str = ".wav") -> dict[str, str]:
    """By name: the audio relative to ``folder``, or nothing for all where the folder has none.

    Raises ValueError when some files are there and others are not.
    """
    there = {path.name: path.name for path in folder.glob(f"*{suffix}")}
    found = {name: there.get(f"{Path(name).name.removesuffix(suffix)}{suffix}") for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing and there:
        raise ValueError(f"{folder}: the gold file names audio that is missing: {named(missing)}")
    return {name: path or "" for name, path in found.items()}


def phone_spellings(folder: Path) -> Inventory:
    """How the gold file spells phones: ``phones.txt`` beside it, else ARPAbet with stress."""
    own = folder / PHONE_SPELLINGS
    default = read_inventory(DEFAULT_FILE)
    found = read_inventory(own) if own.is_file() else default
    if found.phones != default.phones:
        raise ValueError(f"{own} must list the same phones as {DEFAULT_FILE.name}, in its order")
    return found
