"""The seam between a corpus and the alignments that another program made for it.

A source is a frozen value: which files, in which format.  Its files are read once, in any order,
and cut into records by utterance id; a loaded reader then turns one utterance's records into
timed phones.  So memory holds one shard's records, whatever the corpus holds.
"""

import codecs
import fnmatch
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ray_slm.corpora.alignment import AlignmentError
from ray_slm.corpora.lines import Hash, read_lines
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ

FRAME_SAMPLES_10_MS = 160
NUM_SLICES = 16  # parts in which a tree of files is read


class TimedPhones(NamedTuple):
    """An aligner's symbols with their intervals [start, end) in samples at 16 kHz.

    ``stated_samples`` is the length of audio that the alignment says it is of, None when its
    format does not say.
    """

    symbols: list[str]
    starts: list[int]
    ends: list[int]
    stated_samples: int | None


class Part(NamedTuple):
    """One file, or slice of a tree of files, that is read as a whole; ``role`` says as what."""

    role: str
    name: str


class Record(NamedTuple):
    """What one part says of one utterance; an utterance may have several, in order."""

    id: bytes
    content: bytes


class Reader(Protocol):
    """A loaded source."""

    def timed(self, records: Mapping[str, Sequence[bytes]]) -> TimedPhones:
        """One utterance's records by role, in order, as timed phones.

        Raises AlignmentError (ALIGN_MALFORMED, ALIGN_MISSING) saying what is wrong with them.
        """
        ...


class AlignmentSource(Protocol):
    """A frozen dataclass with these members; ``digest`` pins the content of all its files."""

    @property
    def digest(self) -> str:
        """What ``settle`` must find; see ``combined_digest``."""
        ...

    @property
    def aligned_by(self) -> str:
        """Who aligned, as utterances record it."""
        ...

    def parts(self, root: Path) -> tuple[Part, ...]:
        """What is to be read under ``root``; raises ValueError when something is not there."""
        ...

    def records(self, root: Path, part: Part, seen: Hash) -> Iterator[Record]:
        """The records of one part; ``seen`` is fed every byte that was read."""
        ...

    def load(self, root: Path) -> Reader:
        """The reader, with its table of symbols if it has one."""
        ...


def files_like(root: Path, pattern: str, what: str) -> list[str]:
    """Relative paths under ``root`` that match the glob ``pattern``, sorted, one at least.

    Raises ValueError naming the pattern when there is none.
    """
    found = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
    if not found:
        raise ValueError(
            f"{root} has no file {pattern!r} ({what}); mend the pattern in the study, or pass the "
            "right folder with `--place alignments=FOLDER`"
        )
    return found


def keyed_lines(path: Path, seen: Hash) -> Iterator[Record]:
    """The lines of a text file (.gz too) whose first word is the utterance id."""
    for line in read_lines(path, seen):
        head, _, rest = line.partition(b" ")
        if b"\t" in head:
            head, _, rest = line.partition(b"\t")
        if head:
            yield Record(head, rest.strip())


def files_of_slice(root: Path, suffix: str, number: int) -> Iterator[tuple[str, Path]]:
    """(id, path) of the files below ``root`` that end in ``suffix`` and belong to a slice.

    A file's id is its relative path without suffix; folders belong to slices by hash.
    """
    for folder, folders, names in os.walk(root):
        folders.sort()
        relative = Path(folder).relative_to(root)
        digest = hashlib.sha256(relative.as_posix().encode()).digest()
        if digest[0] % NUM_SLICES != number:
            continue
        for name in sorted(fnmatch.filter(names, f"*{suffix}")):
            yield (relative / name.removesuffix(suffix)).as_posix(), Path(folder, name)


def records_of_slice(
    root: Path, suffix: str, slash: str, part: Part, seen: Hash
) -> Iterator[Record]:
    """One record, the file's whole content, for each file of a slice; ``slash`` stands for "/"."""
    for utterance_id, path in files_of_slice(root, suffix, int(part.name)):
        content = path.read_bytes()
        seen.update(f"{utterance_id} {hashlib.sha256(content).hexdigest()}\n".encode())
        yield Record(utterance_id.replace(slash, "/").encode(), content)


def slices(root: Path, suffix: str) -> tuple[Part, ...]:
    """The slices of a tree; raises ValueError when it holds no file that ends in ``suffix``."""
    if not any(fnmatch.filter(names, f"*{suffix}") for _, _, names in os.walk(root)):
        raise ValueError(
            f"{root} has no file *{suffix}; pass the right folder with `--place alignments=FOLDER`"
        )
    return tuple(Part("file", f"{number:02d}") for number in range(NUM_SLICES))


def combined_digest(digests: Mapping[str, str]) -> str:
    """One sha256 for parts (``role:name``) and theirs."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def samples(seconds: str | float) -> int:
    """A time in seconds as the nearest sample; raises AlignmentError when it is no finite time."""
    try:
        return round(float(seconds) * SAMPLE_RATE_HZ)
    except (ValueError, OverflowError):
        raise malformed(f"{seconds!r} is no time in seconds") from None


def counted(symbols: Sequence[str], lengths: Sequence[int], frame_samples: int) -> TimedPhones:
    """Phones that follow each other without gap, each of so many frames."""
    if any(length < 0 for length in lengths):
        raise malformed(f"{min(lengths)} frames: a duration cannot be negative")
    ends, cursor = [], 0
    for length in lengths:
        cursor += length * frame_samples
        ends.append(cursor)
    return TimedPhones(list(symbols), [0, *ends[:-1]], ends, cursor)


def only(records: Mapping[str, Sequence[bytes]], role: str) -> str:
    """The one record of a role, decoded; raises AlignmentError when there is none or several."""
    found = records.get(role, ())
    if not found:
        raise AlignmentError("ALIGN_MISSING", f"no {role} of this utterance is in the alignments")
    if len(found) > 1:
        raise malformed(f"the alignments have {len(found)} entries ({role}) of this utterance")
    return text(found[0])


def text(content: bytes) -> str:
    """Bytes as UTF-8, or UTF-16 when they say so; raises AlignmentError when they are neither."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise malformed(f"no text: undecodable at byte {error.start}") from None


def malformed(detail: str) -> AlignmentError:
    """An alignment that is not in the format it should be in."""
    return AlignmentError("ALIGN_MALFORMED", detail)
