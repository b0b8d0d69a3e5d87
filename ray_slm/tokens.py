"""The token store: one split in one modality as flat files that training maps into memory.

``<split>/shard-00000.bin`` holds uint16 ids, little-endian, utterance after utterance in the
order of their ids, no specials; ``shard-00000.index.parquet`` says how long each is.  A corpus
shard becomes one shard here, written by whoever comes first: the bytes are the same.
``quarantine/shard-00000.jsonl`` comes last, so its existence means that the shard is done.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Quarantined, Seconds, read_shard
from ray_slm.modalities.modality import Tokenizer, Waveform

ID_TYPE = np.dtype("<u2")
MAX_VOCAB_SIZE = 65_536 - 3  # BOS, EOS and PAD follow the vocabulary
SUMMARY, QUARANTINE = "tokens.json", "quarantine.jsonl"
_INDEX = pa.schema([("id", pa.string()), ("num_tokens", pa.int32()), ("num_samples", pa.int64())])


class TokenRow(NamedTuple):
    """One utterance's tokens: uint16 (T,), and the length of its audio."""

    id: str
    ids_T: np.ndarray
    num_samples: int


class ShardCounts(NamedTuple):
    """Utterances of a corpus shard: num_in = num_out + num_quarantined."""

    num_in: int
    num_out: int
    num_quarantined: int


def write_shard(folder: Path, split: str, shard: int, rows: Iterable[TokenRow]) -> None:
    """Write one split's shard, rows sorted by id; nothing when there are none."""
    ordered = sorted(rows, key=lambda row: row.id)
    if not ordered:
        return
    flat = np.concatenate([row.ids_T for row in ordered]).astype(ID_TYPE, casting="same_kind")
    columns = zip(*((row.id, len(row.ids_T), row.num_samples) for row in ordered), strict=True)
    facts = {"num_tokens": str(len(flat)), "max_id": str(flat.max())}
    index = pa.table([*map(list, columns)], schema=_INDEX).replace_schema_metadata(facts)
    buffer = pa.BufferOutputStream()
    pq.write_table(index, buffer, compression="zstd", write_page_checksum=True)
    data_path, index_path = _shard_paths(folder, split, shard)
    _write_whole(data_path, flat.tobytes())
    _write_whole(index_path, buffer.getvalue().to_pybytes())


def is_tokenized(folder: Path, shard: int) -> bool:
    """Whether ``tokenize_shard`` has finished this shard."""
    return _quarantine_path(folder, shard).exists()


def tokenize_shard(
    corpus: Path, shard: int, tokenizer: Tokenizer, waveform: Waveform, out: Path
) -> ShardCounts:
    """Tokenize one shard of a corpus folder into ``out``: each split's shard, then quarantine.

    The bytes follow from shard and tokenizer alone.  Ids in = ids out + ids quarantined.
    """
    utterances = read_shard(corpus, shard)
    rows: dict[str, list[TokenRow]] = {}
    refused: list[Quarantined] = []
    found = tokenizer.tokenize(utterances, waveform)
    for utterance, one in zip(utterances, found, strict=True):
        if isinstance(one, Quarantined):
            assert one.id == utterance.id, "quarantined under another id"
            refused.append(one)
            continue
        assert one.dtype == np.uint16, f"{utterance.id}: ids are {one.dtype}"
        assert one.max(initial=0) < tokenizer.vocab_size, f"{utterance.id}: bad ids"
        row = TokenRow(utterance.id, one, utterance.num_samples)
        rows.setdefault(utterance.split, []).append(row)
    for split, of_split in rows.items():
        write_shard(out, split, shard, of_split)
    lines = "".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in refused)
    _write_whole(_quarantine_path(out, shard), lines.encode())
    return ShardCounts(len(utterances), sum(map(len, rows.values())), len(refused))


def finish(out: Path, vocab_size: int) -> dict[str, object]:
    """Check all shards together, join the quarantine, write ``tokens.json`` and return it.

    Raises ValueError naming the shard that is missing or bad, or the id that stands in two.
    """
    if not 0 < vocab_size <= MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size is {vocab_size}: ids of 16 bits allow {MAX_VOCAB_SIZE}")
    parts = sorted((out / "quarantine").glob("shard-*.jsonl"))
    for shard, part in enumerate(parts):
        if part != _quarantine_path(out, shard):
            raise ValueError(f"{out}: shard {shard} is not tokenized, {part.name} is; run again")
    refused = "".join(part.read_text() for part in parts)
    _write_whole(out / QUARANTINE, refused.encode())
    reasons = Counter(json.loads(line)["reason"] for line in refused.splitlines())
    splits = sorted({path.parent.name for path in out.glob("*/shard-*.index.parquet")})
    summary: dict[str, object] = {
        "vocab_size": vocab_size,
        "num_shards": len(parts),
        "quarantined": dict(sorted(reasons.items())),
        "splits": {split: _summarize(out, split, vocab_size) for split in splits},
    }
    _write_whole(out / SUMMARY, (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    return summary


def _summarize(out: Path, split: str, vocab_size: int) -> dict[str, object]:
    paths = sorted((out / split).glob("shard-*.index.parquet"))
    shards = [int(path.name.split(".")[0].removeprefix("shard-")) for path in paths]
    index = _read_index(out, split, shards)
    num_tokens = sum(_check_shard(out, split, shard, vocab_size) for shard in shards)
    ids = index["id"].to_pylist()
    if twice := [a for a, b in itertools.pairwise(ids) if a == b]:
        raise ValueError(f"{out / split}: the id {twice[0]} stands in two shards; prepare again")
    return {
        "shards": shards,
        "num_utterances": len(ids),
        "num_tokens": num_tokens,
        "seconds": int(index["num_samples"].to_numpy().sum()) / SAMPLE_RATE_HZ,
        "ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
    }


def _check_shard(folder: Path, split: str, shard: int, vocab_size: int) -> int:
    """The number of tokens of a shard whose sizes and ids are as they should be."""
    data_path, index_path = _shard_paths(folder, split, shard)
    again = f"tokenize shard {shard} again"
    if missing := [path for path in (data_path, index_path) if not path.is_file()]:
        raise ValueError(f"{missing[0]} is missing; {again}")
    facts = pq.read_metadata(index_path).metadata
    num_tokens, max_id = int(facts[b"num_tokens"]), int(facts[b"max_id"])
    size, expected = data_path.stat().st_size, ID_TYPE.itemsize * num_tokens
    if size != expected:
        raise ValueError(f"{data_path} has {size} bytes, its index says {expected}; {again}")
    if max_id >= vocab_size:
        raise ValueError(f"{data_path} holds id {max_id}, vocab_size is {vocab_size}; {again}")
    return num_tokens


def _read_index(folder: Path, split: str, shards: list[int]) -> pa.Table:
    """The utterances of all shards, sorted by id, with their shard and place (in tokens)."""
    tables = []
    for shard in shards:
        path = _shard_paths(folder, split, shard)[1]
        table = pq.read_table(path, page_checksum_verification=True).replace_schema_metadata()
        size = table["num_tokens"].to_numpy().astype(np.int64)
        table = table.append_column("start", pa.array(np.cumsum(size) - size))
        tables.append(table.append_column("shard", pa.array(np.full(len(size), shard))))
    return pa.concat_tables(tables).sort_by("id").combine_chunks()


def _shard_paths(folder: Path, split: str, shard: int) -> tuple[Path, Path]:
    stem = folder / split / f"shard-{shard:05d}"
    return stem.with_suffix(".bin"), stem.with_suffix(".index.parquet")


def _quarantine_path(folder: Path, shard: int) -> Path:
    return folder / "quarantine" / f"shard-{shard:05d}.jsonl"


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there entirely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


class TokenStore:
    """One split of a finished store.  Utterances are numbered in the order of their ids."""

    def __init__(self, folder: Path, split: str, vocab_size: int, shards: list[int]) -> None:
        self.folder, self.split, self.vocab_size, self._shards = folder, split, vocab_size, shards
        self._mapped: dict[int, np.ndarray] = {}

    @classmethod
    def open(cls, folder: Path, split: str) -> "TokenStore":
        """Open and check every shard's size and largest id; tokens are read on demand.

        Raises ValueError for an unfinished store, an unknown split, or naming a bad shard.
        """
        if not (folder / SUMMARY).is_file():
            raise ValueError(f"{folder / SUMMARY} is missing: tokenize to the end first")
        summary = json.loads((folder / SUMMARY).read_text())
        if split not in summary["splits"]:
            raise ValueError(f"{folder}: no split {split!r}, there are {[*summary['splits']]}")
        of_split, vocab_size = summary["splits"][split], summary["vocab_size"]
        found = sum(_check_shard(folder, split, s, vocab_size) for s in of_split["shards"])
        if found != of_split["num_tokens"]:
            raise ValueError(f"{folder / split}: {found} tokens, {SUMMARY} says otherwise")
        return cls(folder, split, vocab_size, of_split["shards"])

    @functools.cached_property
    def _index(self) -> pa.Table:
        return _read_index(self.folder, self.split, self._shards)

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """All utterance ids, sorted."""
        return tuple(self._index["id"].to_pylist())

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 (utterances,): tokens of each."""
        return np.asarray(self._index["num_tokens"], dtype=np.int64)

    @functools.cached_property
    def num_samples(self) -> np.ndarray:
        """int64 (utterances,): samples of audio at 16 kHz of each."""
        return np.asarray(self._index["num_samples"], dtype=np.int64)

    @functools.cached_property
    def _places(self) -> np.ndarray:
        return np.stack([self._index[name].to_numpy() for name in ("shard", "start")], axis=1)

    @property
    def num_tokens(self) -> int:
        """Tokens of the split."""
        return int(self.lengths.sum())

    @property
    def seconds(self) -> Seconds:
        """Audio of the split."""
        return Seconds(int(self.num_samples.sum()) / SAMPLE_RATE_HZ)

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, i: int) -> np.ndarray:
        """uint16 (T,): the tokens of utterance ``i``, a read-only view of the file."""
        shard, start = self._places[i]
        if shard not in self._mapped:
            path = _shard_paths(self.folder, self.split, shard)[0]
            self._mapped[shard] = np.memmap(path, ID_TYPE, mode="r")
        return self._mapped[shard][start : start + self.lengths[i]]
