"""The next batch, packed while the present one is trained on.

What a step reads follows from the run and a cursor alone, so nothing here is state: a thread
prepares the batch that will be asked for, and one that was not foreseen is prepared on demand.
Legend: B rows, T tokens of a row.
"""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
import torch

from ray_slm.training import order, packing
from ray_slm.training.objective import Batch
from ray_slm.training.packing import Documents, Rows
from ray_slm.training.run import Run
from ray_slm.training.scale import flops_per_token, table_size
from ray_slm.training.world import World


class Prepared(NamedTuple):
    """One rank's share of a step, in host memory; all counts but ``slots`` are of all ranks."""

    indices: np.ndarray
    num_tokens: int
    flops: float  # attention within each piece included
    slots: int  # tokens of this rank with padding
    batches: list[Batch]


def prepare(run: Run, documents: Documents, world: World, cursor: int) -> Prepared:
    """The step that begins after ``cursor`` utterances, packed into this rank's micro-batches.

    Raises:
        ValueError: naming the utterance that holds an id outside the vocabulary.
    """
    end = None if run.ending.epochs is None else run.ending.epochs * len(documents)
    indices = order.batch(run.seed, cursor, documents.lengths, run.batching, end)
    lengths = documents.lengths[indices]
    share = order.split(indices, lengths, world.size)[world.rank]
    parts = list(_microbatches(run, documents, world, share)) if len(share) else []
    num_rows, least = table_size(run.vocab_size), 1
    if world.static_shapes and parts:
        least = packing.usual_bounds(documents.lengths, *parts[0].ids_BT.shape)
    flops = sum(
        piece.length * flops_per_token(run.scale, piece.length, num_rows)
        for piece in packing.pieces(indices, documents.lengths, run.scale.window)
    )
    return Prepared(
        indices,
        int(packing.num_targets(lengths).sum()),
        flops,
        sum(part.ids_BT.size for part in parts),
        [_on_host(part, world, least) for part in parts],
    )


def _microbatches(run: Run, documents: Documents, world: World, share: np.ndarray) -> list[Rows]:
    window = run.scale.window
    pieces = packing.pieces(share, documents.lengths, window)
    if run.batching.pad_to_window:
        rows = packing.one_per_row(documents, pieces, window, run.vocab_size)
        return list(packing.microbatches(rows, world.microbatch, trim=False))
    if world.static_shapes:
        rows = packing.pack(documents, pieces, window, run.vocab_size)
        return list(packing.equal_microbatches(rows, world.microbatch, run.vocab_size))
    num_columns = packing.row_length([piece.length for piece in pieces], window)
    rows = packing.pack(documents, pieces, num_columns, run.vocab_size)
    return list(packing.microbatches(rows, world.microbatch))


def _on_host(part: Rows, world: World, least_bounds: int) -> Batch:
    """Tensors that a GPU can fetch while it computes, with the bounds of their documents."""
    bounds = packing.bounds(part.document_BT, least_bounds)
    tensors = [torch.from_numpy(array) for array in (*part, bounds)]
    if world.device.type == "cuda":
        tensors = [tensor.pin_memory() for tensor in tensors]
    return Batch(*tensors)


class Feed:
    """Hands out prepared batches by cursor, one ahead."""

    def __init__(self, run: Run, documents: Documents, world: World) -> None:
        self._about = run, documents, world
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: dict[int, Future[Prepared]] = {}  # by cursor, at most one

    def take(self, cursor: int) -> Prepared:
        """The batch after ``cursor`` utterances; begins to prepare the one that follows it."""
        ahead = self._ahead.pop(cursor, None) or self._submit(cursor)
        prepared = ahead.result()
        following = cursor + len(prepared.indices)
        self._ahead = {following: self._submit(following)}
        return prepared

    def drain(self) -> None:
        """Wait until nothing is being prepared."""
        wait(self._ahead.values())

    def close(self) -> None:
        """End the thread; what it prepares is not needed any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, cursor: int) -> Future[Prepared]:
        return self._pool.submit(prepare, *self._about, cursor)
