"""Drive a plan: launch what is ready, skip what exists, never hide a failure.

A stage is ready when every input has a record.  Checkpoints commit their own records, so an
evaluation starts while its training still runs, with no special case here.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store

POLL_SECONDS = 0.2


class Backend(Protocol):
    """Where stages execute.  ``finished`` returns what ended since the last call."""

    def submit(self, stage: Stage) -> None:
        """Start a stage; may run it to its end when there is no cluster."""
        ...

    def finished(self) -> list[tuple[Stage, BaseException | None]]:
        """Stages that ended, each with its error if it failed."""
        ...


class Progress(NamedTuple):
    """How far a run is, for whoever watches."""

    total: int
    done: int
    running: tuple[Stage, ...]
    failed: int


class Outcome(NamedTuple):
    """How a run ended: what was made, what failed and what was left waiting for it."""

    made: tuple[Stage, ...]
    failed: dict[str, BaseException]
    waiting: tuple[Stage, ...]


def is_ready(stage: Stage, store: Store) -> bool:
    """Whether every input of the stage has a record."""
    return all(store.has(artifact.address) for artifact in stage.inputs.values())


def run(
    plan: Sequence[Stage],
    store: Store,
    backend: Backend,
    watch: Callable[[Progress], None] = lambda _progress: None,
) -> Outcome:
    """Run a plan to its end.  A failed stage leaves its siblings running."""
    pending = [stage for stage in plan if not store.has(stage.address)]
    running: list[Stage] = []
    made: list[Stage] = []
    failed: dict[str, BaseException] = {}
    while True:
        ready = sorted(
            (stage for stage in pending if is_ready(stage, store)),
            key=lambda stage: -stage.demand.priority,
        )
        for stage in ready:
            pending.remove(stage)
            running.append(stage)
            backend.submit(stage)
        ended = backend.finished()
        for stage, error in ended:
            running.remove(stage)
            if error is None:
                made.append(stage)
            else:
                failed[stage.name] = error
        done = len(plan) - len(pending) - len(running) - len(failed)
        watch(Progress(len(plan), done, tuple(running), len(failed)))
        if not running and not any(is_ready(stage, store) for stage in pending):
            return Outcome(tuple(made), failed, tuple(pending))
        if not ended:
            time.sleep(POLL_SECONDS)
