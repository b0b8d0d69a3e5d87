"""Which training utterances a vocabulary is fitted on: those with the smallest seeded hashes.

A hash of the id, and not the order of reading, decides, so that workers and shards change nothing.
Anything but training utterances is refused here, once for every vocabulary.
"""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm.corpora.utterance import SAMPLE_RATE_HZ

TRAINING_SPLIT = "train"

Weight = Callable[[pa.Table], np.ndarray]  # table -> int64 (B,)


def sample_by_hash(tables: Iterable[pa.Table], enough: int, weight: Weight, seed: int) -> pa.Table:
    """The utterances of smallest seeded hash whose weights reach ``enough``, sorted by id.

    All of them when they do not reach it.  Holds the sample and one table only, whatever the
    corpus's size.  Raises ValueError when there is none, or one is not of the training split.
    """
    kept, total = [], 0
    for table in tables:
        _refuse_untrained(table)
        hashes = [_seeded_hash(one, seed) for one in table["id"].to_pylist()]
        kept.append(table.append_column("_hash", pa.array(hashes, pa.uint64())))
        total += int(weight(table).sum())
        if total > 2 * enough:
            kept = [_smallest(pa.concat_tables(kept), enough, weight)]
            total = int(weight(kept[0]).sum())
    if not sum(map(len, kept)):
        raise ValueError(
            "there is no training utterance to fit a vocabulary on; prepare a corpus whose "
            f"split {TRAINING_SPLIT!r} is not empty"
        )
    chosen = _smallest(pa.concat_tables(kept), enough, weight)
    return chosen.sort_by("id").drop_columns(["_hash"])


def one_each(table: pa.Table) -> np.ndarray:
    """The weight by which utterances are counted."""
    return np.ones(len(table), dtype=np.int64)


def minutes_of_audio(tables: Iterable[pa.Table], minutes: int, seed: int) -> pa.Table:
    """The utterances of smallest seeded hash whose audio reaches that length, as above."""
    enough = minutes * 60 * SAMPLE_RATE_HZ
    return sample_by_hash(tables, enough, samples_of_audio, seed)


def samples_of_audio(table: pa.Table) -> np.ndarray:
    """The weight by which audio is measured, at 16 kHz."""
    samples: np.ndarray = table["num_samples"].to_numpy()
    return samples


def _smallest(table: pa.Table, enough: int, weight: Weight) -> pa.Table:
    """The rows of smallest hash, and of them as few as reach ``enough``."""
    table = table.sort_by([("_hash", "ascending"), ("id", "ascending")])
    weights = weight(table)
    return table.slice(0, int((np.cumsum(weights) - weights < enough).sum()))


def _refuse_untrained(table: pa.Table) -> None:
    others = table.filter(pc.not_equal(table["split"].cast(pa.string()), TRAINING_SPLIT))
    if len(others):
        first = others.slice(0, 1).to_pylist()[0]
        raise ValueError(
            f"utterance {first['id']} is of split {first['split']!r}: a vocabulary is fitted on "
            f"split {TRAINING_SPLIT!r} only; pass read_tables(folder, splits=({TRAINING_SPLIT!r},))"
        )


def _seeded_hash(utterance_id: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}\n{utterance_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
