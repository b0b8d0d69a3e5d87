"""The learning rate as a pure function of tokens seen, so that resuming cannot shift it."""

import math
from collections.abc import Sequence

from ray_slm.training.scale import Optimizer


def warmup_tokens(optimizer: Optimizer, total_tokens: int, tokens_per_step: float) -> float:
    """Length of the warm-up: ``warmup_steps`` mean steps, or a share of a short run."""
    return min(optimizer.warmup_steps * tokens_per_step, optimizer.warmup_fraction * total_tokens)


def learning_rate(
    optimizer: Optimizer,
    tokens: float,
    *,
    total_tokens: int,
    warmup: float,
    checkpoints: Sequence[int] = (),
    forked_at: int | None = None,
) -> float:
    """The rate after ``tokens`` trained tokens.

    ``warmup`` is in tokens.  ``checkpoints`` are the rising token counts before which "wsd-s"
    cools down; the end of the run counts as one.  A branch of "wsd-branches" cools down from
    ``forked_at`` to its end; the trunk, which forked nowhere, never does.
    """
    tokens = min(tokens, float(total_tokens))
    if tokens < warmup:
        return optimizer.peak_lr * tokens / warmup
    low = optimizer.min_lr_fraction
    if optimizer.schedule == "cosine":
        progress = (tokens - warmup) / max(total_tokens - warmup, 1)
        share = 0.5 * (1 + math.cos(math.pi * progress))
    elif optimizer.schedule == "wsd-branches":
        share = 1.0
        if forked_at is not None:
            share = (total_tokens - max(tokens, forked_at)) / max(total_tokens - forked_at, 1)
    else:
        ends = [total_tokens]
        if optimizer.schedule == "wsd-s":
            ends = sorted({*(c for c in checkpoints if c > 0), total_tokens})
        share = _stable_then_down(tokens, ends, optimizer.cooldown_fraction)
    return optimizer.peak_lr * (low + (1 - low) * share)


def _stable_then_down(tokens: float, ends: Sequence[int], cooldown_fraction: float) -> float:
    """1 until the last ``cooldown_fraction`` of the present stretch, then straight down to 0."""
    index = next(i for i, end in enumerate(ends) if tokens <= end)
    start = ends[index - 1] if index else 0
    cooldown = cooldown_fraction * (ends[index] - start)
    return 1.0 if tokens <= ends[index] - cooldown else (ends[index] - tokens) / cooldown
