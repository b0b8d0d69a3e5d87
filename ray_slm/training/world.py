"""Where and how a run executes: rank, device, micro-batch.  None of it is a run's identity.

One process needs no process group; several sum tensors over ranks, once per optimizer step.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BUCKET_ELEMENTS = 1 << 26  # gradients are summed in flat buffers of up to 256 MiB
CPU_MICROBATCH, GPU_MICROBATCH = 2048, 16_384  # tokens; small ones stay in a CPU's cache


def _alone(tensor: Tensor) -> None:
    """The sum over one rank."""


class World(NamedTuple):
    """One worker's view.  ``sum_over_ranks`` adds up a tensor over all ranks, in place.

    ``tokens_per_microbatch`` counts padding; None takes the device's default.  A resume
    checkpoint is written every ``resume_every_steps``, besides those at published checkpoints.
    ``compiled`` uses torch.compile: off by default, as it pays for long runs only.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    sum_over_ranks: Callable[[Tensor], None] = _alone
    tokens_per_microbatch: int | None = None
    resume_every_steps: int = 50
    compiled: bool = False

    @property
    def microbatch(self) -> int:
        """Tokens of one forward pass, padding included."""
        default = CPU_MICROBATCH if self.device.type == "cpu" else GPU_MICROBATCH
        return self.tokens_per_microbatch or default


def distributed_world(rank: int, size: int, device: torch.device) -> World:
    """The world of an initialized ``torch.distributed`` process group."""
    import torch.distributed as dist

    def sum_over_ranks(tensor: Tensor) -> None:
        dist.all_reduce(tensor, dist.ReduceOp.SUM)

    return World(rank, size, device, sum_over_ranks if size > 1 else _alone)


def sum_gradients(parameters: Sequence[Tensor], world: World) -> None:
    """Replace each gradient by its sum over ranks, a bucket at a time."""
    if world.size == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:  # a rank that got no utterance of this step
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        if sum(grad.numel() for grad in bucket) >= BUCKET_ELEMENTS:
            _sum_bucket(bucket, world)
            bucket = []
    if bucket:
        _sum_bucket(bucket, world)


def _sum_bucket(grads: list[Tensor], world: World) -> None:
    flat = torch.cat([grad.flatten() for grad in grads])
    world.sum_over_ranks(flat)
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))
