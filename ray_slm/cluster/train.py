"""A training run on the cluster: a thread of the driver steers one TorchTrainer (DDP)."""

import json
import uuid
from collections.abc import Mapping

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig

from ray_slm.cluster.trainer import LeanTorchTrainer, OwnClusterTrainer
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import train as verbs
from ray_slm.stages.site import Site
from ray_slm.training.world import distributed_world

MAX_FAILURES = 3  # of workers; a preempted node has its own, unlimited budget
REFUSAL = "refusal.json"


def train(stage: Stage, site: Site, *, own_cluster: bool = False) -> None:
    """Train until the run's record exists.  Raises the worker's own error.

    Every attempt has a new Ray Train name, because an equal name resumes Ray's own snapshot;
    what a run resumes from is our newest valid checkpoint.
    """
    demand = stage.demand
    scratch = site.store.scratch(stage.address)
    (scratch / REFUSAL).unlink(missing_ok=True)
    gpu = {"GPU": demand.gpus} if demand.gpus else {}
    trainer = OwnClusterTrainer if own_cluster else LeanTorchTrainer
    trainer(
        train_worker,
        train_loop_config={"stage": stage, "site": site},
        torch_config=TorchConfig(backend="nccl" if demand.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=demand.workers,
            use_gpu=bool(demand.gpus),
            resources_per_worker={"CPU": demand.cpus, **gpu},
        ),
        run_config=RunConfig(
            name=f"{stage.fingerprint}-{uuid.uuid4().hex[:8]}",
            storage_path=str(scratch / "ray"),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    ).fit()
    refusal = scratch / REFUSAL
    if refusal.exists():
        raise ValueError(json.loads(refusal.read_text())["error"])


def impossible(stage: Stage, capacity: Mapping[str, float]) -> str | None:
    """Why a cluster of a fixed size can never run this stage, or None.  Waiting is no reason."""
    demand = stage.demand
    for name, each, field in (
        ("CPU", demand.cpus, "train_cpus"),
        ("GPU", demand.gpus, "train_gpus"),
    ):
        if demand.workers * each > capacity.get(name, 0.0):
            return (
                f"{stage.name} asks for {demand.workers} x {each} {name} and the cluster has "
                f"{capacity.get(name, 0.0)}; lower train_workers or {field} in the study"
            )
    return None


def train_worker(config: dict) -> None:
    """What every worker runs.  A ValueError would fail again, so it is not retried but kept."""
    import torch

    stage, site = config["stage"], config["site"]
    torch.set_num_threads(1)
    context = ray.train.get_context()
    world = distributed_world(
        context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device()
    )
    try:
        verbs.train(stage, site, world)
    except ValueError as error:
        path = site.store.scratch(stage.address) / REFUSAL
        path.write_text(json.dumps({"error": str(error)}))
