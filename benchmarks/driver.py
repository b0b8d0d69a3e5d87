"""What a driver costs while it waits: the share of one processor, with a thousand stages planned.

Six runs train for the measured time, each with checkpoints that nobody has written yet, and all
other stages wait for those: the longest wait a study has.  A bucket is measured against a server
on this machine, so its share is of the driver's own work, not of the network.
"""
# ruff: noqa: E402 (benchmarks/tokenize.py would hide Python's own tokenize: it leaves the path)

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable

from ray_slm.scheduling import lease, runner
from ray_slm.scheduling.runner import Progress
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store, open_store
from ray_slm.terminal import ProgressReport
from tests import bucket

RUNS, CHECKPOINTS, TASKS = 6, 41, 4  # 990 stages


class Waiting:
    """A backend whose stages run until the time is over, and then end without a result."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._running: list[Stage] = []

    def submit(self, stage: Stage) -> None:
        """Start nothing."""
        self._running.append(stage)

    def finished(self) -> list[tuple[Stage, BaseException | None]]:
        """Nothing until the end."""
        if time.monotonic() < self._end:
            return []
        ended, self._running = self._running, []
        return [(stage, TimeoutError("the time is over")) for stage in ended]


def plan() -> list[Stage]:
    """Training runs, and the evaluations of all their checkpoints."""
    stages = []
    for number in range(RUNS):
        run = Stage(name=f"train/m{number}/seed-0", recipe={"run": number})
        stages.append(run)
        for count in range(CHECKPOINTS):
            for task in range(TASKS):
                name = f"evaluate/m{number}/seed-0/{count:012d}/t{task}"
                checkpoint = run[f"checkpoint-{count:012d}"]
                inputs = {"checkpoint": checkpoint}
                stages.append(Stage(name=name, recipe={"task": task}, inputs=inputs))
    return stages


def cpu_share(store: Store, seconds: float) -> float:
    """Processor time over wall time of a driver that waits for ``seconds``."""
    stages = plan()
    for stage in stages:
        assert stage.address
    with lease.held(store.lease_entries, store.location) as held:
        store = dataclasses.replace(store, fence=held.number)
        start, busy = time.monotonic(), time.process_time()
        runner.run(stages, store, Waiting(seconds), _watch(held, store))
        return (time.process_time() - busy) / (time.monotonic() - start)


def _watch(held: lease.Lease, store: Store) -> Callable[[Progress], None]:
    show = ProgressReport(store, quiet=True)

    def watch(progress: Progress) -> None:
        held.check()
        show(progress)

    return watch


def measure(seconds: float) -> dict[str, float]:
    """The shares for a folder and for a bucket."""
    with tempfile.TemporaryDirectory() as folder, bucket.server() as port:
        os.environ.update(bucket.environment(port))
        bucket.make_bucket(port, "driver")
        in_bucket = open_store("s3://driver/root", Path(folder) / "cache")
        in_bucket.has("corpus/none")  # the client's start is no part of waiting
        return {
            "driver_cpu_share": cpu_share(Store(Path(folder)), seconds),
            "driver_cpu_share_bucket": cpu_share(in_bucket, seconds),
        }


def main() -> None:
    """Print a table, or the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    figures = measure(options.seconds)
    if options.json:
        print(json.dumps({"figures": figures}))
        return
    for name, value in figures.items():
        print(f"{name:<26}{100 * value:>7.2f} % of one processor")


if __name__ == "__main__":
    main()
