"""Who is in a token store: ids and lengths of audio of a split, one file in the order of the ids.

There an id shares nearly all of its letters with the one before, and its shard need not be
written, being a hash of the id.  How many tokens each has lies with its shard.
Legend: N utterances of a split, B of one shard.
"""

import math
from bisect import bisect_left
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
SAMPLES_PER_RUN = 64  # ids that tell where to cut


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


class Sorting:
    """Puts the utterances of all shards into the order of their ids, in bounded memory.

    Sorted runs are laid down in ``folder``; then one range of ids after the other is taken from
    all of them.  Ids sampled from every run tell where to cut: a single run may be of one part
    of the ids only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[pa.Table] = []
        self._num_waiting = self._num_rows = 0
        self._runs: list[Path] = []
        self._samples: list[pa.Array] = []

    def add(self, rows: pa.Table) -> None:
        """Some more rows."""
        self._waiting.append(rows)
        self._num_waiting += len(rows)
        self._num_rows += len(rows)
        if self._num_waiting >= RUN_ROWS:
            self._lay_down()

    def in_order(self) -> Iterator[pa.Table]:
        """All rows, sorted by id, some at a time."""
        if self._waiting:
            self._lay_down()
        edges = self._edges()
        bounds = [_bounds(_mapped(run), edges) for run in self._runs]
        for number in range(len(edges) + 1):
            parts = (
                _mapped(run).slice(of_run[number], of_run[number + 1] - of_run[number])
                for run, of_run in zip(self._runs, bounds, strict=True)
            )
            table = pa.concat_tables(parts)
            if len(table):
                yield table.sort_by("id").combine_chunks()
                pa.default_memory_pool().release_unused()

    def _lay_down(self) -> None:
        table = pa.concat_tables(self._waiting).sort_by("id").combine_chunks()
        self._waiting, self._num_waiting = [], 0
        path = self._folder / f"run-{len(self._runs):05d}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
            writer.write_table(table)
        self._runs.append(path)
        step = max(1, RUN_ROWS // SAMPLES_PER_RUN)
        some = pa.array(range(step // 2, len(table), step), pa.int64())
        self._samples.append(table["id"].combine_chunks().take(some))
        pa.default_memory_pool().release_unused()

    def _edges(self) -> list[str]:
        """Where to cut all ids into ranges of some ``RUN_ROWS``."""
        num_ranges = math.ceil(self._num_rows / RUN_ROWS)
        if num_ranges < 2:
            return []
        samples = pa.concat_arrays(self._samples).sort()
        return [samples[len(samples) * cut // num_ranges].as_py() for cut in range(1, num_ranges)]


def _mapped(run: Path) -> pa.Table:
    """The rows of a run; only those that are used are read."""
    with pa.memory_map(str(run)) as file:
        return pa.ipc.open_file(file).read_all()


def _bounds(run: pa.Table, edges: Sequence[str]) -> list[int]:
    """Where in a run each range begins, and its end."""
    ids = run["id"].combine_chunks()
    inner = (bisect_left(range(len(ids)), edge, key=lambda i: ids[i].as_py()) for edge in edges)
    return [0, *inner, len(ids)]


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
