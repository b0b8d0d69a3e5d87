"""Waves of evaluations: a Ray Tune grid over the checkpoints that are ready.

One trial per checkpoint loads the weights once and scores every task at every layer.  Tune's
state is never the truth: a stage is done when its record exists, whatever Tune believes.
"""

import time
import uuid

import ray
from ray import tune

from ray_slm.cluster.measured import checkpoint_evaluated
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import evaluate as verbs
from ray_slm.stages.site import Site

TRIAL_CPUS = 0.25
TRIAL_RETRIES = 2
TRIALS_PER_ACTOR = 4


def evaluate_wave(wave: list[Stage], site: Site) -> dict[str, BaseException]:
    """Evaluate a wave; the errors by address of the stages that have no record after it."""
    groups: dict[str, list[Stage]] = {}
    for stage in wave:
        groups.setdefault(stage.inputs["checkpoint"].address, []).append(stage)
    name = f"wave-{uuid.uuid4().hex}"
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, groups=groups, site=site), trial_demand(wave)
        ),
        param_space={"checkpoint": tune.grid_search(sorted(groups))},
        tune_config=tune.TuneConfig(
            reuse_actors=True, max_concurrent_trials=_concurrency(len(groups))
        ),
        run_config=tune.RunConfig(
            name="wave",
            storage_path=site.store.foreign(name),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=TRIAL_RETRIES),
        ),
    )
    results = tuner.fit()
    site.store.remove_foreign(name)
    failures = {
        r.config["checkpoint"]: r.error for r in results if r.error is not None and r.config
    }
    return {
        stage.address: failures.get(address) or RuntimeError("the trial ended without a record")
        for address, stages in groups.items()
        for stage in stages
        if not site.store.has(stage.address)
    }


def trial(config: dict, groups: dict[str, list[Stage]], site: Site) -> None:
    """All evaluations of one checkpoint."""
    import torch

    torch.set_num_threads(1)
    missing = [s for s in groups[config["checkpoint"]] if not site.store.has(s.address)]
    start = time.perf_counter()
    verbs.evaluate(missing, site)
    checkpoint_evaluated(missing, time.perf_counter() - start)
    tune.report({"evaluations": len(missing)})


def trial_demand(wave: list[Stage]) -> dict[str, float]:
    """What one trial takes: the largest demand among the wave's stages."""
    gpus = max(stage.demand.gpus for stage in wave)
    return {"CPU": TRIAL_CPUS, **({"GPU": gpus} if gpus else {})}


def _concurrency(num_trials: int) -> int:
    """As many as the processors carry; an actor takes seconds to start and serves many trials."""
    cpus = ray.cluster_resources().get("CPU", 1.0)
    return max(1, min(num_trials // TRIALS_PER_ACTOR, int(cpus) // 2))
