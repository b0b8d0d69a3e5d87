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
from ray_slm.token_index import kept_by_split, read_lengths
from ray_slm.token_shards import CHUNK_ROWS, ID_TYPE, quarantine_path, shard_paths

TEXT_CHUNK_ROWS = 8 * CHUNK_ROWS  # text is small, and words of a chunk are looked up together
_FEW_STRINGS = ("split", "phones.list.element")


class CorpusRows(NamedTuple):
    """Rows of a corpus folder, in the columns that a form needs."""

    folder: Path
    form: Form

    def chunks(self, shard: int) -> Iterator[pa.Table]:
        """The shard's utterances, sorted by id."""
        path = shard_path(self.folder, shard)
        num_rows = TEXT_CHUNK_ROWS if self.form is Form.TEXT else CHUNK_ROWS
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
        """The shard's utterances, split by split, sorted by id."""
        for split, rows in self._kept(shard).items():
            yield from self._with_units(shard, split, rows)

    def of_split(self, shard: int, split: str) -> Iterator[pa.Table]:
        """One split's utterances; none where the shard has none of it."""
        if rows := self._kept(shard).get(split):
            yield from self._with_units(shard, split, rows)

    def _kept(self, shard: int) -> dict[str, pa.Table]:
        refused = (json.loads(line)["id"] for line in self.refused(shard))
        return kept_by_split(self.corpus, shard, refused)

    def _with_units(self, shard: int, split: str, everyone: pa.Table) -> Iterator[pa.Table]:
        paths = shard_paths(self.folder, split, shard)
        ends = np.cumsum(read_lengths(paths.lengths))
        if len(ends) != len(everyone):
            raise ValueError(
                f"{paths.lengths} is of {len(ends)} utterances, the corpus has {len(everyone)}; "
                f"tokenize shard {shard} again"
            )
        units = np.memmap(paths.data, ID_TYPE, mode="r").view(np.ndarray)
        for first in range(0, len(everyone), CHUNK_ROWS):
            rows = everyone.slice(first, CHUNK_ROWS)
            bounds = np.concatenate([[ends[first - 1] if first else 0], ends[first:][: len(rows)]])
            values = pa.array(units[bounds[0] : bounds[-1]])
            lists = pa.LargeListArray.from_arrays(pa.array(bounds - bounds[0]), values)
            columns = {
                "id": rows["id"],
                "split": pa.array([split] * len(rows)),
                "num_samples": rows["num_samples"],
                "units": lists,
            }
            yield pa.table(columns)

    def refused(self, shard: int) -> list[str]:
        """Who has no units has nothing made of them."""
        return quarantine_path(self.folder, shard).read_text().splitlines()
