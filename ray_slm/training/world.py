"""Where and how a run executes: rank, device, micro-batch.  None of it is a run's identity.

One process needs no process group; several sum tensors over ranks.  Gradients are summed in
buckets, the last layers' first, while the backward pass still computes the others.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ray_slm.errors import ResourceError
from ray_slm.training.scale import Scale

BUCKET_ELEMENTS = 1 << 24  # gradients are summed in flat buffers of up to 64 MiB
CPU_MICROBATCH, GPU_MICROBATCH = 2048, 16_384  # tokens; small ones stay in a CPU's cache

Wait = Callable[[], None]


def _alone(tensor: Tensor) -> Wait:
    """The sum over one rank."""
    return _nothing


def _nothing() -> None:
    """What one rank waits for."""


class World(NamedTuple):
    """One worker's view.

    ``start_sum`` begins to add up a tensor over all ranks, in place, and returns what waits for
    the sum.  ``tokens_per_microbatch`` counts padding; None takes the device's default.  A resume
    checkpoint is written every ``resume_every_steps``, or, when that is None, as often as pays
    (``writing.Interval``), and at published checkpoints besides.  ``compiled`` uses
    torch.compile, which pays for long runs only; ``static_shapes`` gives all micro-batches one
    shape for it; ``recompute`` trades the layers' activations for a second forward pass.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    start_sum: Callable[[Tensor], Wait] = _alone
    tokens_per_microbatch: int | None = None
    resume_every_steps: int | None = None
    compiled: bool = False
    static_shapes: bool = False
    recompute: bool = False

    @property
    def microbatch(self) -> int:
        """Tokens of one forward pass, padding included."""
        default = CPU_MICROBATCH if self.device.type == "cpu" else GPU_MICROBATCH
        return self.tokens_per_microbatch or default

    def sum_over_ranks(self, tensor: Tensor) -> None:
        """Add up a tensor over all ranks, in place."""
        self.start_sum(tensor)()


def distributed_world(rank: int, size: int, device: torch.device) -> World:
    """The world of an initialized ``torch.distributed`` process group."""
    import torch.distributed as dist

    def start_sum(tensor: Tensor) -> Wait:
        work = dist.all_reduce(tensor, dist.ReduceOp.SUM, async_op=True)
        return work.wait  # type: ignore[no-any-return]

    return World(rank, size, device, start_sum if size > 1 else _alone)


def out_of_memory(error: RuntimeError, scale: Scale, world: World) -> ResourceError | None:
    """What to do when memory ran out, or None for another error."""
    on_cpu = "alloc_cpu" in str(error) or "DefaultCPUAllocator" in str(error)
    if not on_cpu and not isinstance(error, torch.OutOfMemoryError):
        return None
    size = world.microbatch
    remedy = f"use train_microbatch_tokens={max(size // 2, scale.window)}"
    if size <= scale.window:
        remedy = "use train_recompute=True, or a smaller scale"
    return ResourceError(
        f"a micro-batch of {size} tokens of the scale {scale.name!r} does not fit into the "
        f"memory of {world.device}; {remedy} (losses stay equal): {str(error)[:200]}"
    )


class GradientSums:
    """Replaces each gradient by its sum over ranks.

    After ``arm``, the next backward pass starts a bucket's sum as soon as its gradients are
    there; buckets start in one order on every rank.  A rank without utterances sums zeros.
    """

    def __init__(self, parameters: Sequence[Tensor], world: World) -> None:
        self._world = world
        self._buckets = _buckets(parameters) if world.size > 1 else []
        self._armed = False
        self._missing: list[set[Tensor]] = []
        self._started: list[tuple[list[Tensor], Tensor, Wait]] = []
        for number, bucket in enumerate(self._buckets):
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(self._hook(number))

    def arm(self) -> None:
        """The next backward pass is this rank's last of the step."""
        self._armed = True
        self._missing = [set(bucket) for bucket in self._buckets]

    def finish(self) -> None:
        """Start what is left, wait for all sums and put them in place."""
        self._armed = False
        while len(self._started) < len(self._buckets):
            self._start()
        for grads, flat, wait in self._started:
            wait()
            parts = flat.split([grad.numel() for grad in grads])
            for grad, part in zip(grads, parts, strict=True):
                grad.copy_(part.view_as(grad))
        self._started = []

    def _hook(self, number: int) -> Callable[[Tensor], None]:
        def arrived(parameter: Tensor) -> None:
            if not self._armed:
                return
            self._missing[number].discard(parameter)
            while len(self._started) < len(self._buckets) and not self._missing[len(self._started)]:
                self._start()

        return arrived

    def _start(self) -> None:
        bucket = self._buckets[len(self._started)]
        for parameter in bucket:
            if parameter.grad is None:  # a rank that got no utterance of this step
                parameter.grad = torch.zeros_like(parameter)
        grads = [parameter.grad for parameter in bucket]
        flat = torch.cat([grad.flatten() for grad in grads])
        self._started.append((grads, flat, self._world.start_sum(flat)))


def _buckets(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """Parameters in the order in which a backward pass reaches them, cut into buckets."""
    buckets: list[list[Tensor]] = [[]]
    for parameter in reversed(parameters):
        buckets[-1].append(parameter)
        if sum(member.numel() for member in buckets[-1]) >= BUCKET_ELEMENTS:
            buckets.append([])
    return [bucket for bucket in buckets if bucket]
