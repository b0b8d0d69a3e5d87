"""How well a plan foretells training time: the smoke study's six runs, planned and then run.

Two short trainings on made-up documents measure this processor (FLOP/s, and seconds that every
step costs besides); the planner foretells the six runs from them.  A round measures, runs the six
and measures again, so that both see the same machine; all in CPU seconds, which other jobs disturb
least.  ``--json`` prints the share by which the sum of the six is missed in the median round.
``--root`` compares with the records of a finished smoke study too.
"""
# ruff: noqa: E402 (files beside this one have names of Python's: they must leave the path first)

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ray_slm import launch
from ray_slm.costs import sizes
from ray_slm.costs.catalog import CPU, Accelerator, read_catalog
from ray_slm.costs.work import modality_of, train_seconds
from ray_slm.recipes import Tokenize, Train
from ray_slm.scheduling import runner
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import train as verbs
from ray_slm.stages.local import LocalBackend
from ray_slm.stages.site import Site
from ray_slm.studies.smoke import STUDY
from ray_slm.training.journal import is_step, read_points
from ray_slm.training.loop import fit
from ray_slm.training.run import Run
from ray_slm.training.scale import num_parameters

ROUNDS = 9
STEPS = 6  # about as many as the smoke study takes
SHORT, LONG = 30, 250  # mean tokens of the made-up documents: text and phones, 50 Hz
SPREAD = 0.7  # lengths differ by this share of the mean, evenly: about as utterances do


class Speed(NamedTuple):
    """What was measured of this processor."""

    flops_per_second: float
    step_seconds: float


class Step(NamedTuple):
    """A mean step on documents of one length."""

    seconds: float  # of CPU
    flops: float


class MadeUp:
    """Documents of a mean length."""

    def __init__(self, name: str, number: int, length: int) -> None:
        draw = np.random.default_rng(0)
        longest = round(length * (1 + SPREAD))
        self.ids = [f"{name}-{i:05d}" for i in range(number)]
        self.lengths = draw.integers(round(length * (1 - SPREAD)), longest, number, endpoint=True)
        self.num_samples = self.lengths * 320
        self._units = draw.integers(0, 80, (number, longest)).astype(np.uint16)

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self, index: int) -> np.ndarray:
        """uint16 (T,)."""
        units_T: np.ndarray = self._units[index, : self.lengths[index]]
        return units_T


def cpu_seconds(run: Run, train: object, dev: object) -> tuple[float, float, int]:
    """(CPU seconds of steps, their FLOPs, steps) of one training in this process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        fit(run, train, dev, out, scratch=out / "scratch")  # type: ignore[arg-type]
        points = [p for p in read_points(out / "scratch") if is_step(p)]
    return sum(p["cpu_seconds"] for p in points), sum(p["flops"] for p in points), len(points)


def measure() -> list[Step]:
    """A mean step on short documents and on long ones."""
    per_step = STUDY.batching.utterances_per_step
    found = []
    for length in (SHORT, LONG):
        total = STEPS * per_step * (length + 1)
        run = Run(
            scale=STUDY.scale,
            vocab_size=80,
            optimizer=STUDY.optimizer,
            batching=STUDY.batching,
            seed=0,
            total_tokens=total,
            checkpoints=(total,),
            precision=STUDY.precision,
        )
        made = MadeUp("train", STEPS * per_step, length), MadeUp("dev", 1, length)
        seconds, flops, steps = cpu_seconds(run, *made)
        found.append(Step(seconds / steps, flops / steps))
    return found


def speed_of(measured: Sequence[list[Step]]) -> Speed:
    """Two lengths of documents tell what grows with FLOPs from what every step costs."""
    short, long = (
        statistics.mean(step.seconds for step in column) for column in zip(*measured, strict=True)
    )
    few, many = (step.flops for step in measured[0])
    rate = (many - few) / max(long - short, 1e-9)
    return Speed(rate, max(short - few / rate, 0.0))


def planned(stage: Stage, speed: Speed, cpu: Accelerator) -> float:
    """The planner's seconds with this processor's figures in the place of the catalog's."""
    recipe = stage.recipe
    assert isinstance(recipe, Train)
    modality = modality_of(stage, STUDY)
    rows, mean_tokens = sizes.rows(modality.stream), sizes.mean_tokens(STUDY, modality)
    device = cpu._replace(
        peak=speed.flops_per_second, train_share=1.0, step=speed.step_seconds, memory=float("inf")
    )
    return train_seconds(recipe, rows, mean_tokens, 1, device)


def trainings(root: Path) -> Iterator[tuple[Stage, Run, object, object]]:
    """The six runs, with their tokens made in ``root`` where these are missing."""
    from ray_slm.tokens import TokenStore

    store, stages = Store(root), plan(STUDY)
    tokens = [s.inputs["tokens"].stage for s in stages if isinstance(s.recipe, Train)]
    needed = [s for s in stages if s in tokens or any(s in _upstream(t) for t in tokens)]
    assert all(isinstance(stage.recipe, Tokenize) for stage in tokens)
    runner.run(needed, store, LocalBackend(Site(store, launch.places([]))))
    for stage in stages:
        if isinstance(stage.recipe, Train):
            folder = store.path(stage.inputs["tokens"].address)
            train = TokenStore.open(folder, verbs.TRAIN_SPLIT)
            dev = TokenStore.open(folder, verbs.DEV_SPLIT)
            yield stage, verbs.run_of(stage, train.vocab_size), train, dev


def _upstream(stage: Stage) -> list[Stage]:
    direct = [artifact.stage for artifact in stage.inputs.values()]
    return [*direct, *(s for d in direct for s in _upstream(d))]


def recorded(root: Path) -> float | None:
    """CPU seconds of steps in the records of a finished study, or None."""
    total, store = 0.0, Store(root)
    for stage in plan(STUDY):
        if isinstance(stage.recipe, Train):
            path = store.path(stage.address) / "timing.json"
            if not path.is_file():
                return None
            total += json.loads(path.read_text())["train_cpu_seconds"]
    return total


def main() -> None:
    """Print a table, or the figure alone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figure alone")
    parser.add_argument("--root", type=Path, help="a root where the smoke study may be finished")
    options = parser.parse_args()
    torch.set_num_threads(1)  # as a study's processes; threads that wait for each other burn time
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        runs = list(trainings(root))
        measure()  # warms up
        measured, taken = [measure()], []
        for _ in range(ROUNDS):
            taken.append([cpu_seconds(run, train, dev)[0] for _, run, train, dev in runs])
            measured.append(measure())
        from_records = recorded(root)
    cpu = read_catalog().accelerators[CPU]
    speeds = [speed_of(pair) for pair in itertools.pairwise(measured)]
    foretold = [[planned(stage, speed, cpu) for stage, *_ in runs] for speed in speeds]
    ratios = [sum(f) / sum(t) for f, t in zip(foretold, taken, strict=True)]
    missed = abs(statistics.median(ratios) - 1)
    if options.json:
        print(json.dumps({"figures": {"train_time_missed_by": round(missed, 4)}}))
        return
    speed = Speed(*(statistics.median(column) for column in zip(*speeds, strict=True)))
    print(f"{speed.flops_per_second:.3g} FLOP/s and {1000 * speed.step_seconds:.1f} ms a step")
    for (stage, *_), plans, reals in zip(
        runs, zip(*foretold, strict=True), zip(*taken, strict=True), strict=True
    ):
        plan_s, real_s = statistics.median(plans), statistics.median(reals)
        print(f"{stage.name:<32}{plan_s:8.3f} s planned {real_s:8.3f} s taken")
    print(f"sums, planned over taken: {', '.join(f'{r:.2f}' for r in ratios)}: {missed:.1%} off")
    if from_records:
        print(f"{'records of the finished study':<32}{from_records:26.3f} s taken")
    parameters = num_parameters(STUDY.scale, 64)
    print(f"({parameters:,} parameters, {ROUNDS} rounds, medians)")


if __name__ == "__main__":
    main()
