"""The token store: one split in one modality as flat files that training maps into memory.

``<split>/shard-00000.bin`` holds uint16 ids, little-endian, utterance after utterance in the
order of their ids, no specials; ``shard-00000.index.parquet`` says how long each is.
``tokens.json`` sums up, and is written when every shard is there.
"""

import functools
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Seconds
from ray_slm.token_shards import CHUNK_ROWS, ID_TYPE, quarantine_path, shard_paths, write_whole

TRAINING_SPLIT = "train"
MAX_VOCAB_SIZE = 65_536 - 3  # BOS, EOS and PAD follow the vocabulary
SUMMARY, QUARANTINE = "tokens.json", "quarantine.jsonl"


def finish(out: Path, vocab_size: int) -> dict[str, object]:
    """Check all shards together, join the quarantine, write ``tokens.json`` and return it.

    Raises ValueError naming the shard that is missing or bad, or the id that stands in two.
    """
    if not 0 < vocab_size <= MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size is {vocab_size}: ids of 16 bits allow {MAX_VOCAB_SIZE}")
    _remove_drafts(out)
    parts = sorted((out / "quarantine").glob("shard-*.jsonl"))
    for shard, part in enumerate(parts):
        if part != quarantine_path(out, shard):
            raise ValueError(f"{out}: shard {shard} is not tokenized, {part.name} is; run again")
    refused = "".join(part.read_text() for part in parts)
    write_whole(out / QUARANTINE, refused.encode())
    reasons = Counter(json.loads(line)["reason"] for line in refused.splitlines())
    splits = sorted({path.parent.name for path in out.glob("*/shard-*.index.parquet")})
    summary: dict[str, object] = {
        "vocab_size": vocab_size,
        "num_shards": len(parts),
        "quarantined": dict(sorted(reasons.items())),
        "splits": {split: _summarize(out, split, vocab_size) for split in splits},
    }
    write_whole(out / SUMMARY, (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    return summary


def _remove_drafts(out: Path) -> None:
    """What killed workers left behind: files that never came into place."""
    for draft in out.glob("*/.shard-*"):
        draft.unlink(missing_ok=True)


def _summarize(out: Path, split: str, vocab_size: int) -> dict[str, object]:
    paths = sorted((out / split).glob("shard-*.index.parquet"))
    shards = [int(path.name.split(".")[0].removeprefix("shard-")) for path in paths]
    index = _read_index(out, split, shards)
    num_tokens = sum(_check_shard(out, split, shard, vocab_size) for shard in shards)
    ids = index["id"].combine_chunks()
    if twice := ids[1:].filter(pc.equal(ids[1:], ids[:-1])).to_pylist():
        raise ValueError(f"{out / split}: the id {twice[0]} stands in two shards; prepare again")
    return {
        "shards": shards,
        "num_utterances": len(ids),
        "num_tokens": num_tokens,
        "seconds": int(index["num_samples"].to_numpy().sum()) / SAMPLE_RATE_HZ,
        "ids_sha256": _digest(ids),
    }


def _digest(ids: pa.Array) -> str:
    """SHA-256 of the ids with a line feed between them; strings are made a few at a time."""
    found = hashlib.sha256()
    for start in range(0, len(ids), CHUNK_ROWS):
        lines = "\n".join(ids[start : start + CHUNK_ROWS].to_pylist())
        found.update(f"\n{lines}".encode() if start else lines.encode())
    return found.hexdigest()


def _check_shard(folder: Path, split: str, shard: int, vocab_size: int) -> int:
    """The number of tokens of a shard whose sizes and ids are as they should be."""
    paths = shard_paths(folder, split, shard)
    again = f"tokenize shard {shard} again"
    if missing := [path for path in (paths.data, paths.table) if not path.is_file()]:
        raise ValueError(f"{missing[0]} is missing; {again}")
    facts = parquet.read_facts(paths.table)
    num_tokens, max_id = int(facts["num_tokens"]), int(facts["max_id"])
    size, expected = paths.data.stat().st_size, ID_TYPE.itemsize * num_tokens
    if size != expected:
        raise ValueError(f"{paths.data} has {size} bytes, its index says {expected}; {again}")
    if max_id >= vocab_size:
        raise ValueError(f"{paths.data} holds id {max_id}, vocab_size is {vocab_size}; {again}")
    return num_tokens


def _read_index(folder: Path, split: str, shards: list[int]) -> pa.Table:
    """The utterances of all shards, sorted by id, with their shard and place (in tokens)."""
    tables = []
    for shard in shards:
        table = parquet.read_table(shard_paths(folder, split, shard).table)
        size = table["num_tokens"].to_numpy().astype(np.int64)
        table = table.replace_schema_metadata().append_column(
            "start", pa.array(np.cumsum(size) - size)
        )
        tables.append(table.append_column("shard", pa.array(np.full(len(size), shard))))
    return pa.concat_tables(tables).sort_by("id").combine_chunks()


class TokenStore:
    """One split of a finished store.  Utterances are numbered in the order of their ids."""

    def __init__(self, folder: Path, split: str, vocab_size: int, shards: list[int]) -> None:
        self.folder, self.split, self.vocab_size, self._shards = folder, split, vocab_size, shards
        self._mapped: dict[Path, np.ndarray] = {}

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
    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shard, first token and the one after the last, of each utterance."""
        shard, start = (self._index[name].to_numpy() for name in ("shard", "start"))
        return shard, start, start + self.lengths

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
        shard, start, end = (places.item(i) for places in self._places)
        return self._map(self._data_paths[shard])[start:end]

    def frames(self, i: int) -> np.ndarray:
        """uint16 (T,): for how many frames each token of utterance ``i`` stands.

        Raises ValueError where the modality keeps none: every token stands for one frame, or for
        no certain number.
        """
        shard, start, end = (places.item(i) for places in self._places)
        path = shard_paths(self.folder, self.split, shard).frames
        if not path.is_file():
            raise ValueError(f"{path} does not exist: this modality keeps no run lengths")
        return self._map(path)[start:end]

    @functools.cached_property
    def _data_paths(self) -> dict[int, Path]:
        return {s: shard_paths(self.folder, self.split, s).data for s in self._shards}

    def _map(self, path: Path) -> np.ndarray:
        """A file's numbers as a plain array: views of ``np.memmap`` cost four times as much."""
        if path not in self._mapped:
            self._mapped[path] = np.memmap(path, ID_TYPE, mode="r").view(np.ndarray)
        return self._mapped[path]
