"""Whether a stage can ever run: the one rule that a plan and a run refuse by, in the same words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ray_slm.scheduling.stage import Stage


class Nodes(NamedTuple):
    """Up to ``number`` equal nodes and what each of them offers."""

    name: str
    cpus: float
    gpus: float
    number: int


def impossible(stage: Stage, nodes: Sequence[Nodes]) -> str | None:
    """Why these nodes can never hold all workers of a stage, or None.  Waiting is no reason."""
    demand = stage.demand
    room = sum(n.number * workers_on(n, demand.cpus, demand.gpus) for n in nodes)
    least = demand.least_workers or demand.workers
    if room >= least:
        return None
    each = f"{demand.cpus:g} CPU" + (f" and {demand.gpus:g} GPU" if demand.gpus else "")
    offered = ", ".join(
        f"{n.number} x {n.name} of {n.cpus:g} CPU and {n.gpus:g} GPU" for n in nodes
    )
    return (
        f"{stage.name} asks for {least} workers of {each} at once and the cluster "
        f"({offered or 'no nodes'}) holds {room}; lower train_workers, train_cpus or train_gpus "
        "in the study, or enlarge the cluster"
    )


def workers_on(node: Nodes, cpus: float, gpus: float) -> int:
    """How many workers of this size one empty node holds."""
    fits = [
        math.floor(have / want + 1e-9)
        for have, want in ((node.cpus, cpus), (node.gpus, gpus))
        if want > 0
    ]
    return min(fits, default=1)
