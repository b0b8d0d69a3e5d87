"""The token store: one split in one modality as flat files that training maps into memory.

``<split>/shard-00000.bin`` holds uint16 ids, little-endian, utterance after utterance in the
order of their ids, no specials; ``shard-00000.lengths.parquet`` says how long each is, and
``<split>/utterances.parquet`` who they are.  ``tokens.json`` sums up, and is written when every
shard is there.
"""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet, token_index
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Seconds
from ray_slm.token_shards import (
    CHUNK_ROWS,
    ID_TYPE,
    quarantine_path,
    shard_paths,
    write_whole,
)

TRAINING_SPLIT = "train"
MAX_VOCAB_SIZE = 65_536 - 3  # BOS, EOS and PAD follow the vocabulary
SUMMARY, QUARANTINE = "tokens.json", "quarantine.jsonl"


def finish(out: Path, corpus: Path, vocab_size: int) -> dict[str, object]:
    """Check all shards together, join the quarantine, write who is where; the summary.

    ``corpus`` is what was tokenized.  Raises ValueError naming the shard that is missing or bad,
    or the id that stands in two.
    """
    if not 0 < vocab_size <= MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size is {vocab_size}: ids of 16 bits allow {MAX_VOCAB_SIZE}")
    _remove_drafts(out)
    parts = sorted((out / "quarantine").glob("shard-*.jsonl"))
    for shard, part in enumerate(parts):
        if part != quarantine_path(out, shard):
            raise ValueError(f"{out}: shard {shard} is not tokenized, {part.name} is; run again")
    reasons: Counter[str] = Counter()
    kept: dict[str, dict[int, pa.Table]] = {}
    for shard, part in enumerate(parts):
        refused = [json.loads(line) for line in part.read_text().splitlines()]
        reasons.update(one["reason"] for one in refused)
        ids = (one["id"] for one in refused)
        for split, rows in token_index.kept_by_split(corpus, shard, ids).items():
            kept.setdefault(split, {})[shard] = rows
    write_whole(out / QUARANTINE, b"".join(part.read_bytes() for part in parts))
    summary: dict[str, object] = {
        "vocab_size": vocab_size,
        "num_shards": len(parts),
        "quarantined": dict(sorted(reasons.items())),
        "splits": {split: _settled(out, split, vocab_size, kept[split]) for split in sorted(kept)},
    }
    write_whole(out / SUMMARY, (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    return summary


def _remove_drafts(out: Path) -> None:
    """What killed workers left behind: files that never came into place."""
    for draft in out.glob("*/.*-*"):
        draft.unlink(missing_ok=True)


def _settled(
    out: Path, split: str, vocab_size: int, kept: dict[int, pa.Table]
) -> dict[str, object]:
    """Check the shards of a split, write whose they are, and sum up."""
    num_tokens = 0
    for shard, rows in kept.items():
        num_tokens += _check_shard(out, split, shard, vocab_size)
        path = shard_paths(out, split, shard).lengths
        if (found := parquet.num_rows(path)) != len(rows):
            raise ValueError(
                f"{path} is of {found} utterances, the corpus has {len(rows)} with tokens; "
                f"tokenize shard {shard} again"
            )
    table = token_index.write_utterances(out, split, kept)
    return {
        "shards": sorted(kept),
        "num_utterances": len(table),
        "num_tokens": num_tokens,
        "seconds": pc.sum(table["num_samples"]).as_py() / SAMPLE_RATE_HZ,
        "ids_sha256": _digest(table["id"].combine_chunks()),
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


class TokenStore:
    """One split of a finished store.  Utterances are numbered in the order of their ids."""

    def __init__(self, folder: Path, split: str, summary: Mapping[str, Any]) -> None:
        self.folder, self.split = folder, split
        self.vocab_size: int = summary["vocab_size"]
        self._num_shards: int = summary["num_shards"]
        self._shards: list[int] = summary["splits"][split]["shards"]
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
        return cls(folder, split, summary)

    @functools.cached_property
    def _utterances(self) -> pa.Table:
        return token_index.read_utterances(self.folder, self.split)

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        """All utterance ids, sorted."""
        return tuple(self._utterances["id"].to_pylist())

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 (utterances,): tokens of each."""
        return self._places.length_N

    @functools.cached_property
    def num_samples(self) -> np.ndarray:
        """int64 (utterances,): samples of audio at 16 kHz of each."""
        return np.asarray(self._utterances["num_samples"], dtype=np.int64)

    @functools.cached_property
    def _places(self) -> token_index.Places:
        """Shard, first token and number of tokens of each utterance."""
        paths = ((s, shard_paths(self.folder, self.split, s).lengths) for s in self._shards)
        lengths = {shard: token_index.read_lengths(path) for shard, path in paths}
        return token_index.places(self.ids, self._num_shards, lengths)

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
        shard, start, length = (places.item(i) for places in self._places)
        return self._map(self._data_paths[shard])[start : start + length]

    def frames(self, i: int) -> np.ndarray:
        """uint16 (T,): for how many frames each token of utterance ``i`` stands.

        Raises ValueError where the modality keeps none: every token stands for one frame, or for
        no certain number.
        """
        shard, start, length = (places.item(i) for places in self._places)
        path = shard_paths(self.folder, self.split, shard).frames
        if not path.is_file():
            raise ValueError(f"{path} does not exist: this modality keeps no run lengths")
        return self._map(path)[start : start + length]

    @functools.cached_property
    def _data_paths(self) -> dict[int, Path]:
        return {s: shard_paths(self.folder, self.split, s).data for s in self._shards}

    def _map(self, path: Path) -> np.ndarray:
        """A file's numbers as a plain array: views of ``np.memmap`` cost four times as much."""
        if path not in self._mapped:
            self._mapped[path] = np.memmap(path, ID_TYPE, mode="r").view(np.ndarray)
        return self._mapped[path]
