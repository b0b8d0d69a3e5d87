"""Batches of utterances for an encoder, and the audio of the next ones read while it works.

An utterance's bucket follows from its own length alone.  Batches are formed inside buckets, so
padding stays small; audio is read by threads a few batches ahead, so an encoder on a GPU waits for
no file, and no more than those batches are ever held.
"""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

BATCHES_AHEAD = 3

Item = TypeVar("Item")
Read = TypeVar("Read")


class Bucket(NamedTuple):
    """Samples that an utterance is padded to, and how many such utterances are encoded at once."""

    num_samples: int
    rows: int


def batches(buckets: Sequence[Bucket]) -> list[list[int]]:
    """Positions of ``buckets`` in batches of one bucket, the longest first.

    Every position stands in one batch; a batch has ``rows`` of them, the last of a bucket fewer.
    """
    order = sorted(range(len(buckets)), key=lambda i: (buckets[i], -i), reverse=True)
    found = []
    for bucket, members in itertools.groupby(order, key=buckets.__getitem__):
        positions = list(members)
        found += [positions[i : i + bucket.rows] for i in range(0, len(positions), bucket.rows)]
    return found


def read_ahead(
    read: Callable[[Item], Read], groups: Iterable[Sequence[Item]], threads: int
) -> Generator[list[Read], None, None]:
    """What ``read`` gives for each group, in order, while later groups are being read.

    An error of ``read`` is raised where its group is due.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        waiting: deque = deque()
        for group in groups:
            waiting.append([pool.submit(read, item) for item in group])
            if len(waiting) > BATCHES_AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
