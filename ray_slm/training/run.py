"""One training run as a value: together with the documents it decides every loss."""

import dataclasses
import hashlib

import numpy as np

from ray_slm.training.packing import Documents
from ray_slm.training.scale import Batching, Ending, Optimizer, Scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What is trained, on how much, and when it is looked at.

    ``checkpoints`` are rising counts of trained tokens; 0 is the untrained model.  Tokens are
    targets (units and EOS), never padding.  Held-out loss is measured at every checkpoint, and
    every ``validate_every_tokens`` besides, if given.  A trunk leaves its whole state at each of
    ``forks``; a branch starts from the one at ``forked_at`` and cools down.
    """

    scale: Scale
    vocab_size: int
    optimizer: Optimizer
    batching: Batching
    seed: int
    total_tokens: int
    checkpoints: tuple[int, ...]
    precision: str = "fp32"  # or "bf16": matrix products only, the weights stay fp32
    validate_every_tokens: int | None = None
    ending: Ending = dataclasses.field(default_factory=Ending)
    forks: tuple[int, ...] = ()
    forked_at: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, all errors at once."""
        problems = [*_bad_counts(self)]
        if self.precision not in ("fp32", "bf16"):
            problems.append(f"precision is {self.precision!r}: use 'fp32' or 'bf16'")
        if not 1 <= self.vocab_size <= 65_535:
            problems.append(f"vocab_size is {self.vocab_size}: units are stored as uint16")
        if problems:
            raise ValueError("run: " + "; ".join(problems))


def _bad_counts(run: Run) -> list[str]:
    problems = []
    if run.total_tokens < 1:
        problems.append(f"total_tokens is {run.total_tokens}: train on at least one token")
    for name in ("checkpoints", "forks"):
        counts = getattr(run, name)
        if list(counts) != sorted(set(counts)) or min(counts, default=0) < 0:
            problems.append(f"{name} must rise from 0 or more, got {counts}")
    if max(run.checkpoints, default=0) > run.total_tokens:
        problems.append(
            f"the checkpoint at {max(run.checkpoints)} tokens lies beyond the end of the run at "
            f"{run.total_tokens}: raise total_tokens or drop it"
        )
    if run.forked_at is not None and not 0 < run.forked_at < run.total_tokens:
        problems.append(f"forked_at is {run.forked_at}: a branch starts inside its run")
    if run.validate_every_tokens is not None and run.validate_every_tokens < 1:
        problems.append(f"validate_every_tokens is {run.validate_every_tokens}: use 1 or more")
    return problems


def run_digest(run: Run, train: Documents, dev: Documents) -> str:
    """A hash of the run and of which documents it reads: resume checkpoints must match it."""
    digest = hashlib.sha256(repr(run).encode())
    for documents in (train, dev):
        digest.update("\n".join(documents.ids).encode())
        digest.update(np.ascontiguousarray(documents.lengths, dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]
