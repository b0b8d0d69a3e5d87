"""Drive a plan: launch what is ready, skip what exists, never hide a failure.

A stage is ready when every input has a record.  Checkpoints commit their own records, so an
evaluation starts while its training still runs, with no special case here.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store


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


def run(
    plan: Sequence[Stage],
    store: Store,
    backend: Backend,
    watch: Callable[[Progress], None] = lambda _progress: None,
) -> Outcome:
    """Run a plan to its end.  A failed stage leaves its siblings running."""
    inputs = {a.address for stage in plan for a in stage.inputs.values()}
    whole = store.present(inputs | {stage.address for stage in plan})
    pending = [stage for stage in plan if stage.address not in whole]
    queue = _Queue(pending, whole, store)
    running: dict[str, Stage] = {}
    made: list[Stage] = []
    failed: dict[str, BaseException] = {}
    while True:
        for stage in queue.take_ready():
            running[stage.address] = stage
            backend.submit(stage)
        ended = backend.finished()
        queue.look_for_records(running)  # also of those that ended just now
        for stage, error in ended:
            del running[stage.address]
            if error is None:
                made.append(stage)
            else:
                failed[stage.name] = error
        done = len(plan) - len(queue.waiting) - len(running) - len(failed)
        watch(Progress(len(plan), done, tuple(running.values()), len(failed)))
        if not running and not queue.ready:
            return Outcome(tuple(made), failed, tuple(queue.waiting.values()))
        if not ended:
            time.sleep(store.poll_seconds)


class _Queue:
    """Stages that wait, by what they wait for.

    A thousand stages wait for few records, and only a running stage writes one: each poll asks
    the store for those alone.
    """

    def __init__(self, pending: Iterable[Stage], whole: set[str], store: Store) -> None:
        self.waiting = {stage.address: stage for stage in pending}
        self.ready: list[Stage] = []
        self._store = store
        self._lacks: dict[str, set[str]] = {}  # stage -> addresses without a record
        self._wanted: dict[str, dict[str, list[Stage]]] = {}  # maker -> its address -> who waits
        for stage in self.waiting.values():
            for artifact in stage.inputs.values():
                address = artifact.address
                if address not in whole and address not in self._lacks.get(stage.address, ()):
                    self._lacks.setdefault(stage.address, set()).add(address)
                    of_maker = self._wanted.setdefault(artifact.stage.address, {})
                    of_maker.setdefault(address, []).append(stage)
        self.ready += [s for s in self.waiting.values() if s.address not in self._lacks]

    def look_for_records(self, running: Iterable[str]) -> None:
        """See which records the running stages wrote, and which stages that makes ready."""
        for maker in running:
            wanted = self._wanted.get(maker, {})
            for address in sorted(self._store.present(wanted)):
                for stage in wanted.pop(address):
                    self._lacks[stage.address].remove(address)
                    if not self._lacks[stage.address]:
                        self.ready.append(stage)

    def take_ready(self) -> list[Stage]:
        """The stages that can start, the most urgent first; they wait no longer."""
        ready = sorted(self.ready, key=lambda stage: -stage.demand.priority)
        self.ready = []
        for stage in ready:
            del self.waiting[stage.address]
        return ready
