"""From `fit()` to the first step of a tiny run of two workers (gloo): where the seconds go.

Variants take turns in one session: ``ray`` is Ray Train as it comes, its workers importing
torch.compile as torch's own AdamW does; ``room`` leaves out the actors that are never asked and
has one process for all controllers; ``shared`` has one synchronizer for all runs as well; ``ours``,
what a study runs, is that without the import.  Medians over
turns of

- processes: from `fit()` to the birth of the last worker process (controller, placement group);
  none where Ray takes processes that lay idle
- imports: from there until all workers are ready (Ray, torch, Ray Train)
- rendezvous: torch.distributed joins the workers
- function: from there until the last worker is in our function (its pickle, our imports)
- set-up: tokens, model, optimizer, resuming
- first step: the rest

and processor seconds of all processes of the session meanwhile.  Figures are shares of ``ray``.
"""
# ruff: noqa: E402 (beside this file lies a tokenize.py that Python's own modules must not find)

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import argparse
import dataclasses
import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import psutil

from ray_slm.cluster.session import ray_backend
from ray_slm.scheduling.stage import Demand
from ray_slm.stages.site import Site
from ray_slm.training.journal import is_step, read_attempts
from tests.training.test_ray_train import STAGE, with_tokens

# Long enough for its journal to be read while it lasts.
LONGER = dataclasses.replace(STAGE.recipe, total_tokens=20_000, checkpoints=(0,))
RUN = dataclasses.replace(STAGE, recipe=LONGER, demand=Demand(workers=2, cpus=0.5))
VARIANTS = ("ray", "room", "shared", "ours")
PHASES = ("processes", "imports", "rendezvous", "function", "set-up", "first step")
COLUMN = 12


class Turn(NamedTuple):
    """Seconds of each phase, and processor seconds of the whole session meanwhile."""

    phases: tuple[float, ...]
    cpu: float

    @property
    def wall(self) -> float:
        """To the end of the first step."""
        return sum(self.phases)


def timed_worker(notes: Path, *, compiler: bool) -> Callable[[dict], None]:
    """The product's worker; notes when its process was born and when it got here."""

    def worker(config: dict) -> None:
        entered = time.time()
        if compiler:
            import torch._dynamo  # noqa: F401
        from ray_slm.cluster.train import train_worker

        note = {"born": psutil.Process().create_time(), "entered": entered}
        (notes / f"worker-{os.getpid()}.json").write_text(json.dumps(note))
        train_worker(config)

    return worker


def timed_config(notes: Path) -> type:
    """The product's TorchConfig, whose rendezvous is noted by the process that controls the run."""
    from ray.train.torch import TorchConfig

    base = TorchConfig().backend_cls

    class TimedBackend(base):  # type: ignore[misc, valid-type]
        def on_start(self, worker_group, backend_config) -> None:  # noqa: ANN001
            begin = time.time()
            super().on_start(worker_group, backend_config)
            note = {"begin": begin, "end": time.time()}
            (notes / "rendezvous.json").write_text(json.dumps(note))

    class TimedConfig(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type:
            return TimedBackend

    return TimedConfig


def control_rooms() -> dict[str, object]:
    """Controllers, by variant: those of ``room`` give each run a synchronizer of its own."""
    from ray_slm.cluster import trainer

    class PlainRoom(trainer.ControlRoom):
        def __init__(self) -> None:
            """Leave Ray Train as it is."""

    class PlainControllers(trainer.Controllers):
        room = PlainRoom

    shared = trainer.Controllers()
    return {"room": PlainControllers(), "shared": shared, "ours": shared}


def run_once(variant: str, site: Site, room: object) -> Turn:
    """One run to its end; times to its first step."""
    from ray.train.torch import TorchTrainer

    from ray_slm.cluster import train

    def plain(*arguments: object, controllers: object, **options: object) -> TorchTrainer:
        return TorchTrainer(*arguments, **options)

    shutil.rmtree(site.store.path(RUN.address), ignore_errors=True)
    notes = Path(tempfile.mkdtemp(dir=site.store.root))
    before = {name: getattr(train, name) for name in ("train_worker", "TorchConfig")}
    lean = train.LeanTorchTrainer
    train.train_worker = timed_worker(notes, compiler=variant != "ours")
    train.TorchConfig = timed_config(notes)
    train.LeanTorchTrainer = lean if room else plain
    meter = Meter(site.store.scratch(RUN.address))
    start = time.time()
    try:
        train.train(RUN, site, room)
    finally:
        train.LeanTorchTrainer = lean
        for name, value in before.items():
            setattr(train, name, value)
    return Turn(phases(notes, start, meter), meter.stop())


def phases(notes: Path, start: float, meter: "Meter") -> tuple[float, ...]:
    """Seconds of each of ``PHASES``."""
    workers = [json.loads(path.read_text()) for path in notes.glob("worker-*.json")]
    assert len(workers) == RUN.demand.workers
    rendezvous = json.loads((notes / "rendezvous.json").read_text())
    marks = [
        start,
        max(start, *(worker["born"] for worker in workers)),
        rendezvous["begin"],
        rendezvous["end"],
        max(worker["entered"] for worker in workers),
        meter.started,
        meter.stepped,
    ]
    return tuple(float(end - begin) for begin, end in itertools.pairwise(marks))


class Meter:
    """Watches a run's journal for its first step; counts processor seconds until then."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._begin = scratch, _cpu_seconds()
        self.started = self.stepped = self._used = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Processor seconds from the beginning to the first step."""
        self._thread.join()
        return self._used

    def _watch(self) -> None:
        while not self.stepped:
            time.sleep(0.02)
            for line in [line for lines in read_attempts(self._scratch) for line in lines]:
                if line.get("event") == "start":
                    self.started = line["time"]
                if is_step(line):
                    self.stepped = line["time"]
                    break
        now = _cpu_seconds()
        self._used = sum(seconds - self._begin.get(pid, 0.0) for pid, seconds in now.items())


def _cpu_seconds() -> dict[int, float]:
    """Of this process and all below it."""
    found = {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--turns", type=int, default=3, help="of each variant; one more warms up")
    options = parser.parse_args()
    found: dict[str, list[Turn]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        site = Site(with_tokens(Path(folder) / "root"), {})
        with ray_backend(site, [RUN]):
            rooms = control_rooms()
            for _ in range(options.turns + 1):
                for variant in VARIANTS:
                    turn = run_once(variant, site, rooms.get(variant))
                    found[variant].append(turn)
                    print(f"{variant}: {turn.wall:.1f} s", file=sys.stderr, flush=True)
    medians = {
        variant: np.median([(*turn.phases, turn.wall, turn.cpu) for turn in turns[1:]], axis=0)
        for variant, turns in found.items()
    }
    if not options.json:
        print(f"{'':<{COLUMN}}" + "".join(f"{n:>{COLUMN}}" for n in (*PHASES, "wall", "CPU")))
        for variant, row in medians.items():
            print(f"{variant:<{COLUMN}}" + "".join(f"{value:>{COLUMN}.2f}" for value in row))
    figures = {
        f"{variant}_{name}": float(medians[variant][place] / medians["ray"][place])
        for variant in VARIANTS[1:]
        for place, name in ((-2, "wall"), (-1, "cpu"))
    }
    print(json.dumps({"figures": {name: round(value, 4) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
