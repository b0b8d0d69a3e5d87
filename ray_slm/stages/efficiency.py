"""How well the training runs of a study filled the machines: the wall time they took together
beside the ideal one, in which no processor ever waits.

The ideal is total work over capacity, or the longest run alone where that is more, as a run cannot
use more than its own workers.  Computed from what the runs' journals measured.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ray_slm.recipes import Train
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages.results import read_lines


class Efficiency(NamedTuple):
    """Training of ``num_runs`` runs on ``capacity`` processors (GPUs, where runs have them)."""

    num_runs: int
    capacity: float
    ideal_seconds: float
    actual_seconds: float  # from the first step of any run to the last step of all

    @property
    def share(self) -> float:
        """Ideal over actual."""
        return self.ideal_seconds / self.actual_seconds if self.actual_seconds else 0.0


class _Work(NamedTuple):
    """One run: processor-seconds in all, its own shortest wall time, begin and end."""

    seconds: float
    shortest: float
    begin: float
    end: float


def efficiency(stages: Sequence[Stage], store: Store, capacity: float) -> Efficiency | None:
    """Of the training runs among ``stages`` that have a record; None for fewer than two."""
    runs = [stage for stage in stages if isinstance(stage.recipe, Train)]
    works = [_work(stage, store) for stage in runs if store.has(stage.address)]
    if len(works) < 2:
        return None
    ideal = max(sum(work.seconds for work in works) / capacity, *(w.shortest for w in works))
    actual = max(work.end for work in works) - min(work.begin for work in works)
    return Efficiency(len(works), capacity, ideal, actual)


def line(found: Efficiency) -> str:
    """The comparison, for people."""
    return (
        f"{found.num_runs} training runs took {found.actual_seconds:.1f} s, ideally "
        f"{found.ideal_seconds:.1f} s on {found.capacity:g} processors: "
        f"scheduling efficiency {100 * found.share:.0f} %"
    )


def _work(stage: Stage, store: Store) -> _Work:
    """Steps use a GPU all along; on shared processors their CPU time is what they used."""
    folder = store.path(stage.address)
    (timing,) = read_lines(folder / "timing.json")
    steps = [step for step in read_lines(folder / "timing.jsonl") if "loss" in step]
    gpus = stage.demand.gpus
    seconds = timing["train_seconds"] if gpus else timing["train_cpu_seconds"]
    workers = timing["world_size"] * (gpus or 1)
    begin = min(step["time"] - step["seconds"] for step in steps)
    return _Work(seconds * workers, seconds, begin, max(step["time"] for step in steps))
