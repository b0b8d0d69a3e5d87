"""Writing the token store: a corpus shard becomes one shard of each split, chunk by chunk.

Whoever comes first writes it: the bytes follow from shard and tokenizer alone.  Rows are read,
tokenized and written a chunk at a time, so memory does not grow with the shard.  Whose tokens
they are follows from the corpus and the quarantine; only how many each has is written.
``quarantine/shard-00000.jsonl`` comes last: its existence means that the shard is done.
Legend: B utterances of a chunk, T their tokens.
"""

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet, token_index
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Quarantined, Seconds
from ray_slm.modalities.modality import Tokenizer, Tokens, Waveform
from ray_slm.modalities.ragged import Ragged, without_rows

ID_TYPE = np.dtype("<u2")
CHUNK_ROWS = 1024


class ShardCounts(NamedTuple):
    """Utterances of a corpus shard: num_in = num_out + num_quarantined; and their audio."""

    num_in: int
    num_out: int
    num_quarantined: int
    seconds: Seconds


class ShardPaths(NamedTuple):
    """A split's shard: tokens, how many each utterance has, and their frames if they are runs."""

    data: Path
    lengths: Path
    frames: Path


def shard_paths(folder: Path, split: str, shard: int) -> ShardPaths:
    """Where a store keeps one shard of a split."""
    stem = folder / split / f"shard-{shard:05d}"
    suffixes = (".bin", ".lengths.parquet", ".frames.bin")
    return ShardPaths(*(stem.with_suffix(suffix) for suffix in suffixes))


def quarantine_path(folder: Path, shard: int) -> Path:
    """Where a shard lists what it refused; written last."""
    return folder / "quarantine" / f"shard-{shard:05d}.jsonl"


def is_tokenized(folder: Path, shard: int) -> bool:
    """Whether ``tokenize_shard`` has finished this shard."""
    return quarantine_path(folder, shard).exists()


def check_shard(folder: Path, split: str, shard: int, vocab_size: int) -> int:
    """The number of tokens of a shard whose sizes and ids are as they should be."""
    paths = shard_paths(folder, split, shard)
    again = f"tokenize shard {shard} again"
    if missing := [path for path in (paths.data, paths.lengths) if not path.is_file()]:
        raise ValueError(f"{missing[0]} is missing; {again}")
    facts = parquet.read_facts(paths.lengths)
    num_tokens, max_id = int(facts["num_tokens"]), int(facts["max_id"])
    size, expected = paths.data.stat().st_size, ID_TYPE.itemsize * num_tokens
    if size != expected:
        raise ValueError(f"{paths.data} has {size} bytes, its lengths say {expected}; {again}")
    if max_id >= vocab_size:
        raise ValueError(f"{paths.data} holds id {max_id}, vocab_size is {vocab_size}; {again}")
    return num_tokens


class ShardWriter:
    """One split's shard, growing by chunks whose rows are in the order of their ids."""

    def __init__(self, folder: Path, split: str, shard: int) -> None:
        self._paths = shard_paths(folder, split, shard)
        self._data, self._frames = Draft(self._paths.data), Draft(self._paths.frames)
        self._lengths: list[np.ndarray] = []
        self._max_id, self._last = 0, ""

    def write(self, ids: pa.Array, tokens: Ragged, frames_T: np.ndarray | None) -> None:
        """Append utterances, each with a token or more."""
        rises = pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py()
        ordered = rises and self._last < ids[0].as_py()
        assert ordered, f"{self._paths.data}: ids are not sorted after {ids[0]}"
        self._last = ids[-1].as_py()
        self._data.append(tokens.flat_N)
        if frames_T is not None:
            self._frames.append(frames_T)
        self._max_id = max(self._max_id, int(tokens.flat_N.max()))
        self._lengths.append(tokens.lengths_B.astype(np.int32))

    def publish(self) -> None:
        """Put the files into place; the lengths, last, tell the size of the others."""
        self._frames.publish()
        self._data.publish()
        token_index.write_lengths(self._paths.lengths, self._lengths, self._max_id)

    def discard(self) -> None:
        """Remove what was not published."""
        self._frames.discard()
        self._data.discard()


class Draft:
    """A file of 16-bit numbers under a temporary name, made with the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")

    def append(self, numbers: np.ndarray) -> None:
        """Write more."""
        self._draft.parent.mkdir(parents=True, exist_ok=True)
        with self._draft.open("ab") as file:
            file.write(numbers.astype(ID_TYPE, copy=False).data)

    def publish(self) -> None:
        """Give it its name, if there is anything."""
        if self._draft.exists():
            self._draft.replace(self._path)

    def discard(self) -> None:
        """Remove it, unless it was published."""
        self._draft.unlink(missing_ok=True)


class Source(Protocol):
    """Where a shard's utterances come from."""

    def chunks(self, shard: int) -> Iterator[pa.Table]:
        """The utterances; within a split in the order of their ids."""
        ...

    def refused(self, shard: int) -> list[str]:
        """Lines of quarantine that stand already."""
        ...


def tokenize_shard(
    source: Source, shard: int, tokenizer: Tokenizer, waveform: Waveform, out: Path
) -> ShardCounts:
    """Tokenize one shard into ``out``: each split's shard, then the quarantine.

    Ids in = ids out + ids quarantined.
    """
    refused = source.refused(shard)
    counts = ShardCounts(len(refused), 0, len(refused), Seconds(0))
    with _writers(out, shard) as writer_of:
        for table in source.chunks(shard):
            tokens = tokenizer.tokenize(table, waveform)
            _check(table, tokens, tokenizer.vocab_size)
            _write(table, tokens, writer_of)
            refused += [json.dumps(dataclasses.asdict(one)) for one in _in_order(tokens)]
            counts = _added(counts, table, len(tokens.refused))
            del table, tokens
            pa.default_memory_pool().release_unused()  # else it keeps what a hundred chunks took
    write_whole(quarantine_path(out, shard), "".join(f"{line}\n" for line in refused).encode())
    return counts


@contextlib.contextmanager
def _writers(out: Path, shard: int) -> Iterator[Callable[[str], ShardWriter]]:
    """A writer per split, made when it is asked for; all are published if all goes well."""
    made: dict[str, ShardWriter] = {}

    def writer_of(split: str) -> ShardWriter:
        if split not in made:
            made[split] = ShardWriter(out, split, shard)
        return made[split]

    try:
        yield writer_of
        for writer in made.values():
            writer.publish()
    finally:
        for writer in made.values():
            writer.discard()


def _write(table: pa.Table, tokens: Tokens, writer_of: Callable[[str], ShardWriter]) -> None:
    splits = table["split"].combine_chunks().cast(pa.string())
    for split in splits.unique().to_pylist():
        chosen_B = pc.equal(splits, split).to_numpy(zero_copy_only=False) & (tokens.lengths_B > 0)
        if not chosen_B.any():
            continue
        rows = without_rows(Ragged(tokens.flat_T, tokens.lengths_B), ~chosen_B)
        frames_T = tokens.frames_T
        if frames_T is not None:
            frames_T = without_rows(Ragged(frames_T, tokens.lengths_B), ~chosen_B).flat_N
        ids = table["id"].combine_chunks().filter(pa.array(chosen_B))
        writer_of(split).write(ids, Ragged(rows.flat_N, rows.lengths_B[chosen_B]), frames_T)


def _check(table: pa.Table, tokens: Tokens, vocab_size: int) -> None:
    """What every tokenizer promises."""
    assert tokens.flat_T.dtype == np.uint16, f"ids are {tokens.flat_T.dtype}"
    assert len(tokens.lengths_B) == len(table), "one length per utterance"
    assert tokens.lengths_B.sum() == len(tokens.flat_T), "lengths are not those of the ids"
    assert tokens.flat_T.max(initial=0) < vocab_size, f"bad ids: {tokens.flat_T.max()}"
    if tokens.frames_T is not None:
        assert tokens.frames_T.dtype == np.uint16, f"frames are {tokens.frames_T.dtype}"
        assert len(tokens.frames_T) == len(tokens.flat_T), "frames for every token"
    empty = set(np.flatnonzero(tokens.lengths_B == 0).tolist())
    assert empty == tokens.refused.keys(), "no tokens, and no reason for it"
    for row, one in tokens.refused.items():
        assert one.id == table["id"][row].as_py(), "quarantined under another id"


def _in_order(tokens: Tokens) -> list[Quarantined]:
    return [tokens.refused[row] for row in sorted(tokens.refused)]


def _added(counts: ShardCounts, table: pa.Table, num_refused: int) -> ShardCounts:
    return ShardCounts(
        counts.num_in + len(table),
        counts.num_out + len(table) - num_refused,
        counts.num_quarantined + num_refused,
        Seconds(counts.seconds + pc.sum(table["num_samples"]).as_py() / SAMPLE_RATE_HZ),
    )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there entirely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    draft.write_bytes(content)
    draft.replace(path)
