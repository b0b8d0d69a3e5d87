"""One run's moving parts: the model, its optimizer, and how far they are.

A step is a pure function of this state and the step's number.  Nothing random happens after the
initialization (there is no dropout), so the state below is all that resuming needs.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ray_slm.training import objective, order, packing, schedule
from ray_slm.training.checkpoint import Saved
from ray_slm.training.model import initialized
from ray_slm.training.objective import Validation
from ray_slm.training.packing import Documents
from ray_slm.training.run import Run
from ray_slm.training.scale import flops_per_token, table_size
from ray_slm.training.world import World, sum_gradients


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is.  ``published`` counts checkpoints, ``samples`` are of audio heard."""

    step: int = 0
    tokens: int = 0
    utterances: int = 0
    samples: int = 0
    flops: float = 0.0
    published: int = 0


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
    data_seconds: float
    num_tokens: int  # of all ranks, like flops
    slots: int
    flops: float


class Trainer:
    """Steps through the order of utterances that the run's seed gives."""

    def __init__(self, run: Run, documents: Documents, world: World) -> None:
        self.run, self.documents, self.world = run, documents, world
        self.model = initialized(run.scale, run.vocab_size, run.seed).to(world.device)
        self.named = dict(self.model.named_parameters())
        self.optimizer = _adamw(run, self.named)
        self.progress = Progress()
        self.points: list[Point] = []
        self.validations: list[Validation] = []
        self._losses = objective.token_losses
        if world.compiled:
            self._losses = torch.compile(objective.token_losses, dynamic=True)
        mean_targets = float(packing.num_targets(documents.lengths).mean())
        self._warmup = schedule.warmup_tokens(
            run.optimizer, run.total_tokens, mean_targets * run.batching.utterances_per_step
        )

    def step(self) -> Pace:
        """Train on the next batch.

        Raises:
            ValueError: when loss or gradient is not finite, naming the utterances; the weights
                are then those of before.
        """
        start, cpu_start = time.perf_counter(), time.process_time()
        per_step = self.run.batching.utterances_per_step
        indices = order.batch(self.run.seed, self.progress.step, len(self.documents), per_step)
        lengths = self.documents.lengths[indices]
        num_tokens = int(packing.num_targets(lengths).sum())
        share = order.split(indices, lengths, self.world.size)[self.world.rank]
        data_seconds, slots, loss_sum = self._accumulate(share, num_tokens)
        self.world.sum_over_ranks(loss_sum)
        loss = float(loss_sum) / num_tokens
        sum_gradients(list(self.named.values()), self.world)
        clip = self.run.optimizer.clip_norm
        norm = float(torch.nn.utils.clip_grad_norm_(self.named.values(), clip))
        self._refuse_not_finite(loss, norm, indices)
        rate = self._learning_rate(num_tokens)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        flops = self._advance(indices, num_tokens)
        self.points.append(Point(self.progress.step, self.progress.tokens, rate, loss, norm))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        return Pace(seconds, cpu_seconds, data_seconds, num_tokens, slots, flops)

    def _accumulate(self, share: np.ndarray, num_tokens: int) -> tuple[float, int, Tensor]:
        """Gradients of this rank's share, divided by all ranks' tokens; (data s, slots, loss)."""
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.world.device)
        if not len(share):
            return 0.0, 0, loss_sum
        start = time.perf_counter()
        window, vocab_size = self.run.scale.window, self.run.vocab_size
        rows = objective.rows_of(self.documents, share, window, vocab_size)
        data_seconds, slots = time.perf_counter() - start, 0
        for part in packing.microbatches(rows, self.world.microbatch):
            slots += part.ids_BT.size
            batch = objective.on_device(part, self.world.device)
            with objective.precision_context(self.run.precision, self.world.device):
                losses_BT = self._losses(self.model, batch, vocab_size)
            summed = losses_BT.sum()
            (summed / num_tokens).backward()
            loss_sum += summed.detach()
        return data_seconds, slots, loss_sum

    def _learning_rate(self, num_tokens: int) -> float:
        """The rate in the middle of this step, so that neither the first nor the last is idle."""
        return schedule.learning_rate(
            self.run.optimizer,
            self.progress.tokens + num_tokens / 2,
            total_tokens=self.run.total_tokens,
            warmup=self._warmup,
            checkpoints=self.run.checkpoints,
        )

    def _refuse_not_finite(self, loss: float, norm: float, indices: np.ndarray) -> None:
        if np.isfinite(loss) and np.isfinite(norm):
            return
        self.optimizer.zero_grad(set_to_none=True)
        ids = ", ".join(self.documents.ids[index] for index in indices)
        raise ValueError(
            f"step {self.progress.step + 1}: the loss is {loss} and the gradient's norm {norm}; "
            f"lower peak_lr, or look at the utterances of this batch: {ids}"
        )

    def _advance(self, indices: np.ndarray, num_tokens: int) -> float:
        """Count the step; its FLOPs, attention within each piece included."""
        run, done = self.run, self.progress
        rows = table_size(run.vocab_size)
        flops = sum(
            piece.length * flops_per_token(run.scale, piece.length, rows)
            for piece in packing.pieces(indices, self.documents.lengths, run.scale.window)
        )
        self.progress = dataclasses.replace(
            done,
            step=done.step + 1,
            tokens=done.tokens + num_tokens,
            utterances=done.utterances + len(indices),
            samples=done.samples + int(np.sum(self.documents.num_samples[indices], dtype=np.int64)),
            flops=done.flops + flops,
        )
        return flops

    def snapshot(self, digest: str) -> Saved:
        """Everything that resuming needs; ``digest`` names the run it belongs to."""
        moments = {
            f"{name}/{key}": value
            for name, parameter in self.named.items()
            for key, value in self.optimizer.state[parameter].items()
        }
        history = {
            "points": torch.tensor(self.points, dtype=torch.float64),
            "validations": torch.tensor(self.validations, dtype=torch.float64),
        }
        groups = {"model": dict(self.named), "optimizer": moments, "history": history}
        state = {"schema": 1, "run": digest, "progress": dataclasses.asdict(self.progress)}
        return Saved(groups, state)

    def restore(self, saved: Saved) -> None:
        """Continue from a snapshot."""
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(saved.groups["model"][name])
        self.optimizer.state.clear()
        for key, value in saved.groups["optimizer"].items():
            name, _, kind = key.rpartition("/")
            state = self.optimizer.state[self.named[name]]
            state[kind] = value.to(self.world.device, copy=True)
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


def _adamw(run: Run, named: Mapping[str, Tensor]) -> torch.optim.AdamW:
    """AdamW whose weight decay spares the norms."""
    values = run.optimizer
    groups = [
        {"params": [p for p in named.values() if p.ndim > 1], "weight_decay": values.weight_decay},
        {"params": [p for p in named.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=values.peak_lr,
        betas=(values.beta1, values.beta2),
        eps=values.epsilon,
        fused=True,
    )
