"""The token store: one split in one modality as flat files that training maps into memory.

``<split>/shard-00000.bin`` holds uint16 ids, little-endian, utterance after utterance in the
order of their ids, no specials; ``shard-00000.lengths.parquet`` says how long each is, and
``<split>/utterances.parquet`` who they are.  ``tokens.json`` sums up; ``token_finish`` writes it.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ray_slm import token_index
from ray_slm.corpora.utterance import Seconds
from ray_slm.token_shards import ID_TYPE, check_shard, shard_paths

TRAINING_SPLIT = "train"
SUMMARY = "tokens.json"


class TokenStore:
    """One split of a finished store.  Utterances are numbered in the order of their ids.

    ``num_tokens`` and ``seconds`` (of audio) are of the whole split.
    """

    def __init__(self, folder: Path, split: str, summary: Mapping[str, Any]) -> None:
        self.folder, self.split = folder, split
        self.vocab_size: int = summary["vocab_size"]
        self._num_shards: int = summary["num_shards"]
        of_split = summary["splits"][split]
        self._shards: list[int] = of_split["shards"]
        self.num_tokens: int = of_split["num_tokens"]
        self.seconds = Seconds(of_split["seconds"])
        self._num_utterances: int = of_split["num_utterances"]
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
        found = sum(check_shard(folder, split, s, vocab_size) for s in of_split["shards"])
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

    def __len__(self) -> int:
        return self._num_utterances

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
