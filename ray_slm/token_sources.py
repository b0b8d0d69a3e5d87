"""What a shard is tokenized from: a corpus folder, or the store of another stream's units.

Both give tables with the columns of the stream's form, a chunk at a time, so memory does not grow
with the shard.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm import parquet
from ray_slm.corpora.utterance import shard_path
from ray_slm.modalities.modality import Form
from ray_slm.token_index import Rows, kept, read_lengths
from ray_slm.token_shards import (
    CHUNK_ROWS,
    ID_TYPE,
    ShardPaths,
    quarantine_path,
    shard_paths,
)

# A megabyte of either; text more, as a look-up begins by hashing all words known so far.
FORM_ROWS = {Form.TEXT: 4 * CHUNK_ROWS, Form.PHONES: CHUNK_ROWS // 2}
_FEW_STRINGS = ("split", "phones.list.element")


class CorpusRows(NamedTuple):
    """Rows of a corpus folder, in the columns that a form needs."""

    folder: Path
    form: Form

    def chunks(self, shard: int) -> Iterator[pa.Table]:
        """The shard's utterances, sorted by id."""
        path = shard_path(self.folder, shard)
        num_rows = FORM_ROWS.get(self.form, CHUNK_ROWS)
        return parquet.read_batches(path, self.form.columns, num_rows, _FEW_STRINGS)

    def refused(self, shard: int) -> list[str]:
        """Nobody yet: what a corpus left out is not in its table."""
        return []


class UnitRows(NamedTuple):
    """Rows of the token store ``folder``, their tokens as the column ``units``.

    Whose they are is read from the corpus that was tokenized.
    """

    folder: Path
    corpus: Path

    def chunks(self, shard: int) -> Iterator[pa.Table]:
        """The shard's utterances; within a split sorted by id."""
        units: dict[str, _Units] = {}
        refused = (json.loads(line)["id"] for line in self.refused(shard))
        for rows in kept(self.corpus, shard, refused):
            if rows.split not in units:
                units[rows.split] = _Units(shard_paths(self.folder, rows.split, shard))
            for first in range(0, len(rows.table), CHUNK_ROWS):
                yield units[rows.split].beside(rows, first)
        for one in units.values():
            one.refuse_rest()

    def of_split(self, shard: int, split: str) -> Iterator[pa.Table]:
        """One split's utterances; none where the shard has none of it."""
        for table in self.chunks(shard):
            if table["split"][0].as_py() == split:
                yield table

    def refused(self, shard: int) -> list[str]:
        """Who has no units has nothing made of them."""
        return quarantine_path(self.folder, shard).read_text().splitlines()


class _Units:
    """The units of a split's shard, handed out in the order of their utterances."""

    def __init__(self, paths: ShardPaths) -> None:
        self._path, self._row = paths.lengths, 0
        self._ends = np.concatenate([[0], np.cumsum(read_lengths(paths.lengths))])
        self._units = np.memmap(paths.data, ID_TYPE, mode="r").view(np.ndarray)

    def beside(self, rows: Rows, first: int) -> pa.Table:
        """Some rows, from ``first`` on, with their units."""
        table = rows.table.slice(first, CHUNK_ROWS)
        bounds = self._ends[self._row : self._row + len(table) + 1]
        self._row += len(table)
        if len(bounds) <= len(table):
            self.refuse_rest()
        values = pa.array(self._units[bounds[0] : bounds[-1]])
        lists = pa.LargeListArray.from_arrays(pa.array(bounds - bounds[0]), values)
        split = pa.array([rows.split] * len(table))
        return table.append_column("split", split).append_column("units", lists)

    def refuse_rest(self) -> None:
        """Raise ValueError unless there were as many utterances as lengths."""
        if self._row != len(self._ends) - 1:
            raise ValueError(
                f"{self._path} is of {len(self._ends) - 1} utterances, and not those of the "
                "corpus; tokenize the shard again"
            )
