"""Who is in a token store: ids and lengths of audio of a split, one file in the order of the ids.

There an id shares nearly all of its letters with the one before, and its shard need not be
written, being a hash of the id.  How many tokens each has lies with its shard.
Legend: N utterances of a split, B of one shard.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet
from ray_slm.corpora.utterance import shard_of, shard_path

FILE = "utterances.parquet"
SCHEMA = pa.schema([("id", pa.string()), ("num_samples", pa.int64())])
LENGTHS = pa.schema([("num_tokens", pa.int32())])
ENCODINGS = {"id": "DELTA_BYTE_ARRAY", "num_samples": "DELTA_BINARY_PACKED"}
LENGTH_ENCODINGS = {"num_tokens": "BYTE_STREAM_SPLIT"}  # high bytes are much alike
COMPRESSION = "zstd"
ROWS_AT_ONCE = 4_096
RUN_ROWS = 16_384  # bounds the memory; ten million ids are some 600 runs


class Rows(NamedTuple):
    """Some utterances of a split, ids in order, with the columns of ``SCHEMA``."""

    split: str
    table: pa.Table


def kept(corpus: Path, shard: int, refused: Iterable[str]) -> Iterator[Rows]:
    """The utterances of a corpus's shard that are not refused; within a split sorted by id."""
    gone = pa.array([*refused], pa.string())
    path = shard_path(corpus, shard)
    for table in parquet.read_batches(path, [*SCHEMA.names, "split"], ROWS_AT_ONCE):
        left = table.filter(pc.invert(pc.is_in(table["id"], value_set=gone)))
        for split in sorted(left["split"].unique().to_pylist()):
            own = left.filter(pc.equal(left["split"], split))
            yield Rows(split, own.select(SCHEMA.names))


class Run(NamedTuple):
    """A file of sorted rows, and where in it each range of ids begins."""

    path: Path
    bounds: list[int]


class Sorting:
    """Puts the utterances of all shards into the order of their ids, in bounded memory.

    Sorted runs are laid down in ``folder``; then one range of ids after the other is taken from
    all of them.  ``total`` is how many will come; shards being dealt by a hash, the first run
    tells where to cut.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self._folder, self._num_ranges = folder, max(1, math.ceil(total / RUN_ROWS))
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._runs: list[Run] = []
        self._edges: list[str] = []

    def add(self, rows: pa.Table) -> None:
        """Some more rows."""
        self._waiting.append(rows)
        self._num_waiting += len(rows)
        if self._num_waiting >= RUN_ROWS:
            self._lay_down()

    def in_order(self) -> Iterator[pa.Table]:
        """All rows, sorted by id, some at a time."""
        if self._waiting:
            self._lay_down()
        for number in range(self._num_ranges):
            table = pa.concat_tables(_part(run, number) for run in self._runs)
            if len(table):
                yield table.sort_by("id").combine_chunks()

    def _lay_down(self) -> None:
        table = pa.concat_tables(self._waiting).sort_by("id").combine_chunks()
        self._waiting, self._num_waiting = [], 0
        ids, cuts = table["id"].combine_chunks(), self._num_ranges
        if not self._runs:
            self._edges = [ids[len(ids) * cut // cuts].as_py() for cut in range(1, cuts)]
        path = self._folder / f"run-{len(self._runs):05d}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
            writer.write_table(table)
        inner = (pc.sum(pc.less(ids, edge)).as_py() for edge in self._edges)
        self._runs.append(Run(path, [0, *inner, len(ids)]))
        pa.default_memory_pool().release_unused()


def _part(run: Run, number: int) -> pa.Table:
    """The rows of one range, mapped, so that the others are not read."""
    first, last = run.bounds[number : number + 2]
    with pa.memory_map(str(run.path)) as file:
        return pa.ipc.open_file(file).read_all().slice(first, last - first)


def write_utterances(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write rows that come in the order of their ids."""
    parquet.write_tables(path, SCHEMA, tables, compression=COMPRESSION, encodings=ENCODINGS)


def read_utterances(folder: Path, split: str) -> pa.Table:
    """``id`` and ``num_samples`` of a split, sorted by id."""
    return parquet.read_table(folder / split / FILE).combine_chunks()


def write_lengths(path: Path, lengths: Iterable[np.ndarray], max_id: int) -> None:
    """Write how many tokens each utterance of a shard has, with their sum and the largest id."""
    lengths_B = np.concatenate([*lengths])
    facts = {"num_tokens": str(lengths_B.sum()), "max_id": str(max_id)}
    table = pa.table([pa.array(lengths_B, pa.int32())], schema=LENGTHS)
    parquet.write_table(
        path,
        table.replace_schema_metadata(facts),
        compression=COMPRESSION,
        encodings=LENGTH_ENCODINGS,
    )


def read_lengths(path: Path) -> np.ndarray:
    """int64 (B,): tokens of each utterance of a shard."""
    lengths_B: np.ndarray = parquet.read_table(path)["num_tokens"].to_numpy().astype(np.int64)
    return lengths_B


class Places(NamedTuple):
    """For every utterance, by its number (N,): its shard, its first token, and its tokens."""

    shard_N: np.ndarray
    start_N: np.ndarray
    length_N: np.ndarray


def places(ids: Sequence[str], num_shards: int, lengths: Mapping[int, np.ndarray]) -> Places:
    """Where the tokens of the utterances of a split are, ``lengths`` being those of its shards.

    Raises ValueError naming a shard that has other utterances than ``ids`` say.
    """
    shard_N = np.fromiter((shard_of(one, num_shards) for one in ids), np.int64, len(ids))
    for shard, expected in enumerate(np.bincount(shard_N, minlength=num_shards).tolist()):
        if len(found := lengths.get(shard, ())) != expected:
            raise ValueError(
                f"shard {shard} has lengths of {len(found)} utterances, {FILE} has {expected}; "
                f"tokenize shard {shard} again"
            )
    by_shard_N = np.argsort(shard_N, kind="stable")  # within a shard ids are sorted too
    start_N, length_N = np.zeros((2, len(ids)), np.int64)
    ordered = [lengths[shard] for shard in sorted(lengths)]
    length_N[by_shard_N] = np.concatenate(ordered)
    start_N[by_shard_N] = np.concatenate([np.cumsum(one) - one for one in ordered])
    return Places(shard_N, start_N, length_N)
