"""Which utterances each step reads: a pure function of seed, cursor and utterance lengths.

Batches are formed over all ranks and split afterwards, so resuming needs no reader state and the
number of workers changes nothing.  Indices count sorted utterance ids, which makes the order the
same for every modality of one corpus.
"""

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from ray_slm.training.scale import Batching


def batch(
    seed: int, cursor: int, lengths: np.ndarray, batching: Batching, end: int | None = None
) -> np.ndarray:
    """Indices that the step reads which begins after ``cursor`` utterances, over all ranks.

    Steps take consecutive entries of one endless sequence of epochs, each in its own order, so a
    step may end one epoch and begin the next; nothing is read beyond entry ``end``.
    ``lengths[i]`` counts the units of utterance i.

    Raises:
        ValueError: when there are no utterances.
    """
    if not len(lengths):
        raise ValueError("there are no training utterances: prepare a corpus with a train split")
    budget = batching.tokens_per_step
    if budget is None:
        taken = _entries(seed, cursor, len(lengths), batching.utterances_per_step)
    else:
        count, sums = 64, np.zeros(0)
        while not len(sums) or sums[-1] <= budget:
            count *= 2
            taken = _entries(seed, cursor, len(lengths), count)
            sums = np.cumsum(lengths[taken].astype(np.int64) + 1)  # EOS is a target too
        taken = taken[: max(1, int(np.searchsorted(sums, budget, side="right")))]
    return taken if end is None else taken[: max(0, end - cursor)]


def _entries(seed: int, cursor: int, num_utterances: int, count: int) -> np.ndarray:
    """``count`` entries of the endless sequence, from ``cursor`` on."""
    parts, missing = [], count
    while missing:
        epoch, offset = divmod(cursor, num_utterances)
        part = permutation(seed, epoch, num_utterances)[offset : offset + missing]
        parts.append(part)
        cursor, missing = cursor + len(part), missing - len(part)
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, num_utterances: int) -> np.ndarray:
    """The order of one epoch: indices sorted by a hash, the same in every version of NumPy."""
    start = _mix(np.array([seed], dtype=np.uint64))
    start = _mix(start + np.array([epoch], dtype=np.uint64))
    keys = _mix(start + np.arange(num_utterances, dtype=np.uint64))
    order = np.argsort(keys, kind="stable")
    order.setflags(write=False)
    return order


def split(indices: np.ndarray, lengths: Sequence[int] | np.ndarray, size: int) -> list[np.ndarray]:
    """Deal a batch to ``size`` ranks: the longest first, each to the rank with least work.

    ``lengths[i]`` is the length of ``indices[i]``.  Every rank gets the same answer.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    loads = [(0, rank) for rank in range(size)]
    shares: list[list[int]] = [[] for _ in range(size)]
    for position in order:
        load, rank = heapq.heappop(loads)
        shares[rank].append(int(indices[position]))
        heapq.heappush(loads, (load + int(lengths[position]), rank))
    return [np.array(share, dtype=np.int64) for share in shares]


def digest(ids: Iterable[str]) -> str:
    """A hash of which utterances a step reads, whatever their order: equal at any world size."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def _mix(keys: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64: every input bit changes about half of the output bits."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = keys ^ (keys >> np.uint64(31))
    return mixed
