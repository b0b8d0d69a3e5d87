"""What is minimized, and what is measured on held-out utterances with the same function.

The outcomes are the units and EOS: probability that the head gives to BOS, PAD and the padding
of the table is masked away.
Legend: B rows, T tokens, V table rows.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ray_slm.training import order, packing
from ray_slm.training.model import Llama
from ray_slm.training.packing import Documents, Rows
from ray_slm.training.world import World

SAMPLE_RATE_HZ = 16_000
VALIDATION_CHUNK = 256  # utterances packed together


class Batch(NamedTuple):
    """``Rows`` as tensors, and the bounds of their documents (``packing.bounds``)."""

    ids_BT: Tensor
    positions_BT: Tensor
    document_BT: Tensor
    targets_BT: Tensor
    bounds: Tensor | None = None


class Validation(NamedTuple):
    """Held-out loss after ``tokens`` trained tokens.

    ``nats_per_token`` is over units and EOS.  ``bits_per_second`` leaves EOS out and divides by
    the audio's length, so that modalities of different token rates compare.
    """

    step: int
    tokens: int
    nats_per_token: float
    bits_per_second: float


def token_losses(model: Llama, batch: Batch, vocab_size: int) -> Tensor:
    """-log p of each target in nats, (B, T) fp32; 0 at padding."""
    logits_BTV = model(*batch[:3], batch.bounds).float()
    column_V = torch.arange(logits_BTV.shape[-1], device=logits_BTV.device)
    impossible_V = (column_V == vocab_size) | (column_V > vocab_size + 1)
    logits_BTV = logits_BTV.masked_fill(impossible_V, float("-inf"))
    losses = F.cross_entropy(
        logits_BTV.flatten(0, 1),
        batch.targets_BT.flatten(),
        ignore_index=packing.IGNORED,
        reduction="none",
    )
    return losses.view_as(batch.targets_BT)


def on_device(rows: Rows, device: torch.device) -> Batch:
    """Packed rows as tensors."""
    return to_device(Batch(*map(torch.from_numpy, rows)), device)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same on a device; from pinned memory the copy overlaps what is computed there."""
    return Batch(*(None if t is None else t.to(device, non_blocking=True) for t in batch))


def precision_context(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Matrix products in bf16 over fp32 weights, or nothing special for "fp32"."""
    if precision == "bf16":
        context: AbstractContextManager[Any] = torch.autocast(device.type, torch.bfloat16)
        return context
    return nullcontext()


def rows_of(documents: Documents, indices: np.ndarray, window: int, vocab_size: int) -> Rows:
    """Documents packed into rows of the length that suits them."""
    share = packing.pieces(indices, documents.lengths, window)
    num_columns = packing.row_length([piece.length for piece in share], window)
    return packing.pack(documents, share, num_columns, vocab_size)


def held_out_loss(
    model: Llama, dev: Documents, vocab_size: int, precision: str, world: World
) -> tuple[float, float]:
    """(nats per token, bits per second) over all documents; every rank gets the same answer."""
    everything = np.arange(len(dev))
    share = order.split(everything, dev.lengths, world.size)[world.rank]
    share = share[np.argsort(-dev.lengths[share], kind="stable")]
    nats = torch.zeros(2, dtype=torch.float64)  # of all targets, of EOS
    for start in range(0, len(share), VALIDATION_CHUNK):
        indices = share[start : start + VALIDATION_CHUNK]
        rows = rows_of(dev, indices, model.max_tokens, vocab_size)
        for part in packing.microbatches(rows, world.microbatch):
            batch = on_device(part, world.device)
            with torch.no_grad(), precision_context(precision, world.device):
                losses_BT = token_losses(model, batch, vocab_size).double()
            ends_BT = batch.targets_BT == vocab_size + 1
            nats[0] += losses_BT.sum().cpu()
            nats[1] += losses_BT[ends_BT].sum().cpu()
    nats = nats.to(world.device)
    world.sum_over_ranks(nats)
    total, of_eos = nats.tolist()
    seconds = float(np.sum(dev.num_samples, dtype=np.int64)) / SAMPLE_RATE_HZ
    num_tokens = int(packing.num_targets(dev.lengths).sum())
    return total / num_tokens, (total - of_eos) / math.log(2) / seconds
