"""Where a run's wall time went: what trained it, and what was spent on everything else.

Computed from the journals of all attempts, so that the time between a death and the next start,
and the steps that had to be done again, are counted as lost.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ray_slm.training.journal import is_step


class Goodput(NamedTuple):
    """Seconds, which sum up to ``wall``, and the share that trained the model."""

    wall: float
    productive: float
    init: float  # from the start of an attempt to its first step, resuming included
    data_wait: float
    compile: float  # what an attempt's first step took longer than its median one
    validation: float
    checkpoint: float  # that training waited for checkpoints
    redone: float  # steps that a later attempt did again
    restart: float  # between the last word of an attempt and the start of the next
    other: float
    share: float


def goodput(attempts: Sequence[Sequence[dict]]) -> Goodput:
    """The account of a run, from the lines of each attempt (``journal.read_attempts``)."""
    attempts = [lines for lines in attempts if lines]
    if not attempts:
        return Goodput(*[0.0] * len(Goodput._fields))
    starts = [lines[0]["time"] - lines[0].get("init_seconds", 0.0) for lines in attempts]
    ends = [lines[-1]["time"] for lines in attempts]
    wall = ends[-1] - starts[0]
    lines = [line for attempt in attempts for line in attempt]
    steps = [line for line in lines if is_step(line)]
    kept = {line["step"]: line for line in steps}
    useful = sum(line["seconds"] for line in kept.values())
    data_wait = sum(line["data_seconds"] for line in kept.values())
    compiling = sum(_first_step_excess([s for s in a if is_step(s)], kept) for a in attempts)
    parts = {
        "productive": useful - data_wait - compiling,
        "init": _total(lines, "init_seconds"),
        "data_wait": data_wait,
        "compile": compiling,
        "validation": _total(lines, "validation_seconds"),
        "checkpoint": _total(lines, "checkpoint_blocked_seconds"),
        "redone": sum(line["seconds"] for line in steps) - useful,
        "restart": sum(b - a for a, b in zip(ends[:-1], starts[1:], strict=True)),
    }
    other = wall - sum(parts.values())
    share = parts["productive"] / wall if wall > 0 else 0.0
    return Goodput(wall=wall, **parts, other=other, share=share)


def _total(lines: Sequence[dict], name: str) -> float:
    return float(sum(line.get(name, 0.0) for line in lines))


def _first_step_excess(steps: Sequence[dict], kept: dict[int, dict]) -> float:
    """0 for a first step that was done again: it is lost already."""
    if len(steps) < 3 or kept[steps[0]["step"]] is not steps[0]:
        return 0.0
    usual = statistics.median(step["seconds"] for step in steps[1:])
    return float(max(0.0, steps[0]["seconds"] - steps[0]["data_seconds"] - usual))
