"""The noun everything reads: one utterance, and the table of them that a corpus folder holds.

Legend: S samples at 16 kHz.  A corpus folder is ``utterances/shard-00000.parquet ...`` (shard
membership by hash of the id, rows sorted by id), ``audio/``, ``quarantine.jsonl``, ``corpus.json``.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NewType

import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet

Seconds = NewType("Seconds", float)
SAMPLE_RATE_HZ = 16_000

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("speaker", pa.string()),
        ("book", pa.string()),
        ("transcript", pa.string()),
        ("audio", pa.string()),
        ("start", pa.int64()),
        ("num_samples", pa.int64()),
        ("phones", pa.list_(pa.string())),
        ("ends", pa.list_(pa.int64())),
        ("aligned_by", pa.string()),
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utterance:
    """One utterance: where its audio lies, what is said, and when each phone ends.

    ``audio`` is a path relative to the corpus folder, or ``PLACE:path`` where it was not copied;
    ``start`` and ``num_samples`` cut it at 16 kHz.  ``phones`` (of the corpus's inventory) and
    ``ends`` (samples, strictly rising) are of equal length.  ``aligned_by`` says where the ends
    come from, e.g. "synthesis timings".
    """

    id: str
    split: str
    speaker: str
    book: str
    transcript: str
    audio: str
    start: int
    num_samples: int
    phones: tuple[str, ...]
    ends: tuple[int, ...]
    aligned_by: str

    @property
    def duration(self) -> Seconds:
        """Length of the audio."""
        return Seconds(self.num_samples / SAMPLE_RATE_HZ)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quarantined:
    """One item that was left out, and why.  Ids in = ids out + ids quarantined."""

    id: str
    stage: str
    reason: str  # a stable code in capitals, e.g. AUDIO_TRUNCATED
    detail: str
    path: str = ""


def shard_of(utterance_id: str, num_shards: int) -> int:
    """The shard an id belongs to: a hash, so that workers and order change nothing."""
    digest = hashlib.sha256(utterance_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % num_shards


def shard_path(folder: Path, shard: int) -> Path:
    """Where a corpus folder keeps one shard of its utterance table."""
    return folder / "utterances" / f"shard-{shard:05d}.parquet"


def as_table(utterances: Iterable[Utterance]) -> pa.Table:
    """Utterances as a table of ``SCHEMA``, in their order."""
    return pa.Table.from_pylist([dataclasses.asdict(u) for u in utterances], schema=SCHEMA)


def write_utterances(folder: Path, shard: int, utterances: Iterable[Utterance]) -> None:
    """Write one shard, sorted by id."""
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    parquet.write_table(shard_path(folder, shard), as_table(ordered))


def read_shard(folder: Path, shard: int) -> list[Utterance]:
    """The utterances of one shard, sorted by id."""
    table = parquet.read_table(shard_path(folder, shard))
    return [
        Utterance(**{**row, "phones": tuple(row["phones"]), "ends": tuple(row["ends"])})
        for row in table.to_pylist()
    ]


def read_tables(
    folder: Path, columns: Sequence[str], split: str, num_rows: int = 4096
) -> Iterator[pa.Table]:
    """Some columns of one split, ``num_rows`` utterances of a shard at a time."""
    for shard in range(num_shards(folder)):
        for table in parquet.read_batches(shard_path(folder, shard), columns, num_rows):
            yield table.filter(pc.equal(table["split"], split))


def num_shards(folder: Path) -> int:
    """How many shards a corpus folder has."""
    return len(list((folder / "utterances").glob("shard-*.parquet")))


def read_utterances(folder: Path, splits: Sequence[str] = ()) -> Iterator[Utterance]:
    """All utterances of a corpus folder, shard by shard, optionally of some splits only."""
    for shard in range(num_shards(folder)):
        for utterance in read_shard(folder, shard):
            if not splits or utterance.split in splits:
                yield utterance
