"""TorchTrainer without the processes that a run here never asks anything.

Ray Train starts six processes for a run of one worker, each two to six processor seconds of
imports and a quarter of a gigabyte on the driver's node.  Here one process holds the controllers
of all runs and what watches over them; a run's own processes are its workers.
"""

import asyncio
from collections import defaultdict
from threading import Lock
from typing import Any, ClassVar

import ray
from ray.exceptions import RayActorError
from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_slm.cluster import session

MOST_RUNS = 256  # in one process: a controller waits for nearly all of its time


class SharedSynchronizer:
    """Stands for the actor at which a run's workers would meet to report: one for all runs.

    Nothing here is reported through Ray Train, nor is `ray.train.get_preemption_info` called, so
    nobody ever meets there, and the first run to end may take it away.
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
    logs: Ray Train is told to leave it alone (`session`).
    """

    def __init__(self) -> None:
        from ray.train.v2._internal.callbacks import preemption_callback
        from ray.train.v2._internal.execution.controller import TrainController
        from ray.train.v2._internal.execution.worker_group import worker_group

        self._lock, self._controller = Lock(), TrainController
        TrainController.worker_group_cls = _giving_back(worker_group.WorkerGroup)
        if hasattr(worker_group, "SynchronizationActor"):
            shared = SharedSynchronizer(worker_group.SynchronizationActor)
            worker_group.SynchronizationActor = shared
        preemption_callback.PreemptionCallback = _watching_here(preemption_callback)

    def run(self, parts: dict[str, Any]) -> Result:
        """Run one to its end; ``parts`` are what Ray Train makes a controller of."""
        with self._lock:
            controller = self._controller(**parts)
        asyncio.run(controller.run())
        return controller.get_result()


def _giving_back(worker_group: type) -> type:
    """A worker group that frees what it holds when its start fails.

    Ray Train forgets a group whose workers are up and cannot join each other (NCCL on a machine
    without GPUs): its resources would be held for as long as this process lives.
    """

    class GivingBack(worker_group):  # type: ignore[misc, valid-type]
        def _start(self) -> None:
            try:
                super()._start()
            except BaseException:
                if self.has_started():
                    self.abort()
                raise

    return GivingBack


def _watching_here(module: Any) -> type:
    """What has a run's workers told of nodes that drain: from a thread, not a process per run."""

    class WatchingHere(module.PreemptionCallback):  # type: ignore[misc]
        def after_worker_group_start(self, worker_group: Any) -> None:
            self._stop_watcher()
            actors, ranks_of_nodes = {}, defaultdict(list)
            for worker in worker_group.get_workers():
                rank = worker.distributed_context.world_rank
                actors[rank] = worker.actor
                ranks_of_nodes[worker.metadata.node_id].append(rank)
            self._watcher = module.PreemptionWatcher(ranks_of_nodes, self._poll_interval_s, actors)

        def _stop_watcher(self) -> None:
            if self._watcher is not None:
                self._watcher._stop_event.set()
            self._watcher = None

    return WatchingHere


class Controllers:
    """The process that controls all training runs of one driver; a new one where it died.

    It is on the driver's node, where Ray Train puts controllers too.  No restart by Ray: what a
    dead actor held is freed (`reaper`), what a restarted one held is not.
    """

    room: ClassVar[type] = ControlRoom

    def __init__(self) -> None:
        self._lock = Lock()
        self._room: Any = None

    def run(self, parts: dict[str, Any]) -> Result:
        """Run one controller to its end.  Raises RayActorError if the process died meanwhile."""
        with self._lock:
            if self._room is None:
                self._room = self._open()
            room = self._room
        try:
            return ray.get(room.run.remote(parts))
        except RayActorError:
            with self._lock:
                if self._room is room:
                    self._room = None
            raise

    def _open(self) -> Any:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(
            num_cpus=0,
            max_concurrency=MOST_RUNS,
            scheduling_strategy=here,
            runtime_env={"env_vars": session.train_settings()},
        )(self.room)
        return actor.remote()


class LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
    """One run; its controller is in the ``controllers``' process.

    Without the actors that hand out Ray Data shards and remove the placement groups of a dead
    controller.  Where Ray renames what is left out by name here, its own behavior comes back.
    """

    left_out: ClassVar[tuple[str, ...]] = ("DatasetsCallback", "PlacementGroupCleanerCallback")

    def __init__(self, *arguments: Any, controllers: Controllers, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._controllers = controllers

    def _create_default_callbacks(self) -> list:
        every = super()._create_default_callbacks()
        return [callback for callback in every if type(callback).__name__ not in self.left_out]

    def _initialize_and_run_controller(self, **parts: Any) -> Result:
        return self._controllers.run(parts)
