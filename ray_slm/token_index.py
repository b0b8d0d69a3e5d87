"""Who is in a token store: ids and lengths of audio of a split, one file in the order of the ids.

There an id shares nearly all of its letters with the one before, and its shard need not be
written, being a hash of the id.  How many tokens each has lies with its shard.
Legend: N utterances of a split, B of one shard.
"""

from collections.abc import Iterable, Mapping, Sequence
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


def kept_by_split(corpus: Path, shard: int, refused: Iterable[str]) -> dict[str, pa.Table]:
    """The utterances of a corpus's shard that are not refused, by split, sorted by id."""
    rows = parquet.read_table(shard_path(corpus, shard), [*SCHEMA.names, "split"])
    gone = pc.is_in(rows["id"], value_set=pa.array([*refused], pa.string()))
    kept = rows.filter(pc.invert(gone))
    splits = kept["split"]
    return {
        split: kept.filter(pc.equal(splits, split)).select(SCHEMA.names)
        for split in sorted(splits.unique().to_pylist())
    }


def write_utterances(folder: Path, split: str, shards: Mapping[int, pa.Table]) -> pa.Table:
    """Write those of all shards of a split, sorted by id, and return them.

    Raises ValueError for an id that stands in two shards.
    """
    table = pa.concat_tables(shards.values()).sort_by("id").combine_chunks()
    ids = table["id"].combine_chunks()
    if twice := ids[1:].filter(pc.equal(ids[1:], ids[:-1])).to_pylist():
        raise ValueError(f"{folder / split}: the id {twice[0]} stands twice; prepare again")
    path = folder / split / FILE
    parquet.write_table(path, table, compression=COMPRESSION, encodings=ENCODINGS)
    return table


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
