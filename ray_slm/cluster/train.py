"""A training run on the cluster: a thread of the driver steers one TorchTrainer (DDP)."""

import json
import uuid

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig

from ray_slm.cluster import notice, session
from ray_slm.cluster.measured import TrainingMetrics
from ray_slm.cluster.trainer import Controllers, LeanTorchTrainer
from ray_slm.errors import ResourceError
from ray_slm.scheduling.stage import Demand, Stage
from ray_slm.scheduling.store import SCRATCH
from ray_slm.stages import train as verbs
from ray_slm.stages.site import Site
from ray_slm.training.journal import nobody
from ray_slm.training.world import distributed_world

MAX_FAILURES = 3  # of workers; a preempted node has its own, unlimited budget
REFUSALS = f"{SCRATCH}/refusals"


def train(stage: Stage, site: Site, controllers: Controllers) -> None:
    """Train until the run's record exists.  Raises the worker's own error.

    Every attempt has a new Ray Train name, because an equal name resumes Ray's own snapshot;
    what a run resumes from is our newest valid checkpoint.
    """
    demand = stage.demand
    name = f"{stage.fingerprint}-{uuid.uuid4().hex[:8]}"
    notice.forget(stage.address)
    gpu = {"GPU": demand.gpus} if demand.gpus else {}
    trainer = LeanTorchTrainer(
        train_worker,
        train_loop_config={"stage": stage, "site": site, "name": name},
        torch_config=TorchConfig(backend=_backend(demand)),
        scaling_config=ScalingConfig(
            num_workers=_workers(demand),
            use_gpu=bool(demand.gpus),
            resources_per_worker={"CPU": demand.cpus, **gpu},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=site.store.foreign(stage.fingerprint),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
        controllers=controllers,
    )
    trainer.fit()
    site.store.remove_foreign(stage.fingerprint)
    refusal = site.store.gather(stage.address, f"{REFUSALS}/") / _refusal(name)
    if refusal.exists():
        found = json.loads(refusal.read_text())
        kind = ResourceError if found["kind"] == ResourceError.__name__ else ValueError
        raise kind(found["error"])


def _refusal(name: str) -> str:
    """The file, in the run's folder, where a worker leaves an error that no retry can mend."""
    return f"{REFUSALS}/{name}.json"


def _workers(demand: Demand) -> int | tuple[int, int]:
    """A number, or a range within which Ray Train follows the size of the cluster."""
    if demand.least_workers is None:
        return demand.workers
    return demand.least_workers, demand.workers


def _backend(demand: Demand) -> str:
    return "nccl" if demand.gpus and session.forced_device() != "cpu" else "gloo"


def _never() -> bool:
    """Rank 0 alone saves, and alone listens."""
    return False


def train_worker(config: dict) -> None:
    """What every worker runs.

    A ValueError, and memory that does not suffice, would fail again: kept, not retried.
    """
    import torch

    stage, site = config["stage"], config["site"]
    torch.set_num_threads(1)
    context = ray.train.get_context()
    forced = session.forced_device()
    device = torch.device(forced) if forced else ray.train.torch.get_device()
    world = distributed_world(context.get_world_rank(), context.get_world_size(), device)
    first = world.rank == 0
    try:
        urgent = notice.Listener(stage.address) if first else _never
        listener = TrainingMetrics(stage) if first else nobody
        verbs.train(stage, site, world, urgent, listener)
    except (ValueError, ResourceError) as error:
        path = site.store.root / stage.address / _refusal(config["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"kind": type(error).__name__, "error": str(error)}))
        site.store.share(stage.address, _refusal(config["name"]))
