"""TorchTrainer without the processes that a run here never asks anything.

Ray Train starts five processes for a run of one worker, each two to six processor seconds of
imports.  No dataset is handed over, because trainers read memory-mapped shards.  A cluster that
ends with its driver leaves no placement group behind to clean, and there one process holds the
controllers of all runs.
"""

import asyncio
from threading import Lock
from typing import Any, ClassVar

import ray
from ray.exceptions import RayActorError
from ray.train import Result
from ray.train.torch import TorchTrainer

MOST_RUNS = 256  # in one process: a controller waits for nearly all of its time


class SharedSynchronizer:
    """Stands for the actor at which a run's workers would meet to report: one for all runs.

    Nothing here is reported through Ray Train, so nobody ever meets there, and the first run to
    end may take it away.
    """

    def __init__(self, synchronizer: Any) -> None:
        self._synchronizer, self._handle = synchronizer, None
        self._lock = Lock()

    def options(self, **options: Any) -> "SharedSynchronizer":
        """Where it runs is of no matter."""
        return self

    def remote(self, **options: Any) -> Any:
        """The handle that every run gets."""
        with self._lock:
            if self._handle is None:
                self._handle = self._synchronizer.remote(**options)
            return self._handle


class ControlRoom:
    """An actor: runs Ray Train's controllers, each in a thread of its own.

    One at a time is made.  Each would set up logging anew, which deadlocks beside a thread that
    logs: on a cluster of our own Ray Train leaves it alone (`session`).
    """

    def __init__(self) -> None:
        from ray.train.v2._internal.execution.controller import TrainController
        from ray.train.v2._internal.execution.worker_group import worker_group

        self._lock, self._controller = Lock(), TrainController
        if hasattr(worker_group, "SynchronizationActor"):
            shared = SharedSynchronizer(worker_group.SynchronizationActor)
            worker_group.SynchronizationActor = shared

    def run(self, parts: dict[str, Any]) -> Result:
        """Run one to its end; ``parts`` are what Ray Train makes a controller of."""
        with self._lock:
            controller = self._controller(**parts)
        asyncio.run(controller.run())
        return controller.get_result()


class Controllers:
    """The process that controls all training runs of one driver; a new one where it died.

    No restart by Ray: placement groups of a dead actor go with it, of a restarted one they stay.
    """

    room: ClassVar[type] = ControlRoom

    def __init__(self) -> None:
        self._lock = Lock()
        self._room: Any = None

    def run(self, parts: dict[str, Any]) -> Result:
        """Run one controller to its end.  Raises RayActorError if the process died meanwhile."""
        with self._lock:
            if self._room is None:
                actor = ray.remote(num_cpus=0, max_concurrency=MOST_RUNS)(self.room)
                self._room = actor.remote()
            room = self._room
        try:
            return ray.get(room.run.remote(parts))
        except RayActorError:
            with self._lock:
                if self._room is room:
                    self._room = None
            raise


class LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
    """Without the actor that hands out Ray Data shards.

    Where Ray renames what is left out by name here, its own behavior comes back.
    """

    left_out: ClassVar[tuple[str, ...]] = ("DatasetsCallback",)

    def _create_default_callbacks(self) -> list:
        every = super()._create_default_callbacks()
        return [callback for callback in every if type(callback).__name__ not in self.left_out]


class OwnClusterTrainer(LeanTorchTrainer):
    """On a cluster that ends with the driver: no cleaner of placement groups, one control room.

    ``controllers`` is set after construction, as TorchTrainer's own arguments are many.
    """

    left_out: ClassVar[tuple[str, ...]] = ("DatasetsCallback", "PlacementGroupCleanerCallback")
    controllers: Controllers

    def _initialize_and_run_controller(self, **parts: Any) -> Result:
        return self.controllers.run(parts)
