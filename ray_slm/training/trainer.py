"""One run's moving parts: the model, its optimizer, and how far they are.

A step is a pure function of this state and the step's number.  Nothing random happens after the
initialization (there is no dropout), so the state below is all that resuming needs.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ray_slm.errors import DivergedError
from ray_slm.training import ending, objective, packing, schedule
from ray_slm.training.adamw import AdamW
from ray_slm.training.checkpoint import Saved
from ray_slm.training.feed import Feed, Prepared
from ray_slm.training.model import initialized
from ray_slm.training.objective import Validation
from ray_slm.training.packing import Documents
from ray_slm.training.reading import begin_to_read, steps_behind
from ray_slm.training.run import Run
from ray_slm.training.world import GradientSums, World, out_of_memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.  ``published`` counts checkpoints, ``forked`` the states it left for
    branches; ``samples`` are of audio heard.
    """

    step: int = 0
    tokens: int = 0
    utterances: int = 0
    samples: int = 0
    flops: float = 0.0
    published: int = 0
    forked: int = 0


class Point(NamedTuple):
    """One step: its number from 1, and trained tokens with it included."""

    step: int
    tokens: int
    lr: float
    loss: float  # nats per token
    grad_norm: float  # before clipping


class Pace(NamedTuple):
    """What a step cost this rank, for the journal only.  ``slots`` are tokens with padding."""

    seconds: float
    cpu_seconds: float  # of this process; on a shared machine less than ``seconds``
    data_seconds: float  # waited for data
    num_tokens: int  # of all ranks, like flops
    slots: int
    flops: float


class Unread(NamedTuple):
    """A step whose figures are still on the device: where the run was before it, and the rest."""

    before: Progress
    prepared: Prepared
    rate: float
    read: Callable[[], list[float]]  # sum of losses, gradient's norm; waits for them


class Trainer:
    """Steps through the order of utterances that the run's seed gives."""

    def __init__(self, run: Run, documents: Documents, world: World) -> None:
        self.run, self.documents, self.world = run, documents, world
        self.model = initialized(run.scale, run.vocab_size, run.seed).to(world.device)
        self.model.recompute = world.recompute
        self.named = dict(self.model.named_parameters())
        self.optimizer = AdamW(run.optimizer, self.named)
        self.progress = Progress()
        self._unread: deque[Unread] = deque()
        self.points: list[Point] = []  # of the steps that were read
        self.validations: list[Validation] = []
        self.epoch_tokens = int(packing.num_targets(documents.lengths).sum())
        self.total_tokens = ending.total_tokens(run, self.epoch_tokens)
        self.feed = Feed(run, documents, world)
        self._sums = GradientSums(list(self.named.values()), world)
        self._losses = objective.token_losses
        if world.compiled:
            dynamic = not world.static_shapes
            self._losses = torch.compile(objective.token_losses, dynamic=dynamic)
        self.tokens_per_step = _tokens_per_step(run, documents)
        self._warmup = schedule.warmup_tokens(
            run.optimizer, self.total_tokens, self.tokens_per_step
        )

    @property
    def ended(self) -> bool:
        """Whether the run's own rule says that nothing is left to do."""
        return self.progress.tokens >= self.total_tokens or ending.gave_up(
            self.run.ending, self.epoch_tokens, self.validations
        )

    def step(self) -> Pace:
        """Train on the next batch.

        Raises:
            DivergedError: when loss or gradient of a step is not finite, naming its utterances;
                they never reach the weights.  On a GPU it is told one step later.
            ResourceError: when memory does not suffice, naming the micro-batch to use.
        """
        start, cpu_start = time.perf_counter(), time.process_time()
        prepared = self.feed.take(self.progress.utterances)
        data_seconds, num_tokens = time.perf_counter() - start, prepared.num_tokens
        try:
            loss_sum = self._accumulate(prepared)
        except RuntimeError as error:
            raise out_of_memory(error, self.run.scale, self.world) or error from error
        self._sums.finish()
        self.world.sum_over_ranks(loss_sum)
        clip = self.run.optimizer.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.named.values(), clip)
        found, rate = torch.stack([loss_sum, norm.double()]), self._learning_rate(num_tokens)
        with torch.no_grad():
            self.optimizer.step(rate, unless=~found.isfinite().all())
        self._unread.append(Unread(self.progress, prepared, rate, begin_to_read(found)))
        self._advance(prepared)
        self.catch_up(steps_behind(self.world.device))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        return Pace(seconds, cpu_seconds, data_seconds, num_tokens, prepared.slots, prepared.flops)

    def catch_up(self, behind: int = 0) -> None:
        """Read what steps found, but for the newest ``behind``.  Raises DivergedError."""
        while len(self._unread) > behind:
            before, prepared, rate, read = self._unread.popleft()
            loss_sum, norm = read()
            loss = loss_sum / prepared.num_tokens
            if not (np.isfinite(loss) and np.isfinite(norm)):
                self.progress = before
                self._unread.clear()
                raise self._diverged(loss, norm, prepared.indices)
            tokens = before.tokens + prepared.num_tokens
            self.points.append(Point(before.step + 1, tokens, rate, loss, norm))

    def _accumulate(self, prepared: Prepared) -> Tensor:
        """Gradients of this rank's share, divided by all ranks' tokens; the sum of its losses."""
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for number, part in enumerate(prepared.batches, 1):
            batch = objective.to_device(part, self.world.device)
            with objective.precision_context(self.run.precision, self.world.device):
                losses_BT = self._losses(self.model, batch, self.run.vocab_size)
            summed = losses_BT.sum()
            if number == len(prepared.batches):
                self._sums.arm()
            (summed / prepared.num_tokens).backward()
            loss_sum += summed.detach()
        return loss_sum

    def _learning_rate(self, num_tokens: int) -> float:
        """The rate in the middle of this step, so that neither the first nor the last is idle."""
        return schedule.learning_rate(
            self.run.optimizer,
            self.progress.tokens + num_tokens / 2,
            total_tokens=self.total_tokens,
            warmup=self._warmup,
            checkpoints=tuple(c for c in self.run.checkpoints if c < self.total_tokens),
            forked_at=self.run.forked_at,
        )

    def _diverged(self, loss: float, norm: float, indices: np.ndarray) -> DivergedError:
        ids = ", ".join(self.documents.ids[index] for index in indices)
        return DivergedError(
            f"step {self.progress.step + 1}: the loss is {loss} and the gradient's norm {norm}; "
            f"lower peak_lr, or look at the utterances of this batch: {ids}"
        )

    def _advance(self, prepared: Prepared) -> None:
        """Count the step."""
        done, indices = self.progress, prepared.indices
        self.progress = dataclasses.replace(
            done,
            step=done.step + 1,
            tokens=done.tokens + prepared.num_tokens,
            utterances=done.utterances + len(indices),
            samples=done.samples + int(np.sum(self.documents.num_samples[indices], dtype=np.int64)),
            flops=done.flops + prepared.flops,
        )

    def snapshot(self, digest: str) -> Saved:
        """A copy of everything that resuming needs; ``digest`` names the run it belongs to."""
        history = {
            "points": torch.tensor(self.points, dtype=torch.float64),
            "validations": torch.tensor(self.validations, dtype=torch.float64),
        }
        groups = {
            "model": dict(self.named),
            "optimizer": self.optimizer.state(),
            "history": history,
        }
        state = {"schema": 1, "run": digest, "progress": dataclasses.asdict(self.progress)}
        copies = {
            group: {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
            for group, tensors in groups.items()
        }
        return Saved(copies, state)

    def branch_off(self, saved: Saved) -> None:
        """Continue where a trunk was, with a history and checkpoints of one's own."""
        self.restore(saved)
        self.progress = dataclasses.replace(self.progress, published=0, forked=0)
        self.points, self.validations = [], []

    def restore(self, saved: Saved) -> None:
        """Continue from a snapshot."""
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(saved.groups["model"][name])
            self.optimizer.restore(saved.groups["optimizer"])
        self.progress = Progress(**saved.state["progress"])
        history = saved.groups["history"]
        self.points = [
            Point(int(step), int(tokens), *rest)
            for step, tokens, *rest in history["points"].tolist()
        ]
        self.validations = [
            Validation(int(step), int(tokens), *rest)
            for step, tokens, *rest in history["validations"].tolist()
        ]


def _tokens_per_step(run: Run, documents: Documents) -> float:
    """The mean over steps."""
    if run.batching.tokens_per_step is not None:
        return float(run.batching.tokens_per_step)
    mean_targets = float(packing.num_targets(documents.lengths).mean())
    return mean_targets * run.batching.utterances_per_step
