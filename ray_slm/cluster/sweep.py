"""Learning rates on trial: one Tuner per modality, its losing trials stopped early (ASHA).

Losses of different modalities do not compare, so each has its own halving.  A trial is a training
run like any other, with an address of its own: what was trained once is not trained again.
"""

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from ray_slm.errors import DivergedError
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import train as verbs
from ray_slm.stages.site import Site
from ray_slm.sweep import Trial, is_validation

REDUCTION_FACTOR = 3  # of the trials that reach a rung, the best third goes on
WORST_NATS = 1e9  # what ASHA hears of a trial that diverged: finite, for it interpolates


def sweep(stages: Sequence[Stage], site: Site, rungs_from: float) -> list[Trial]:
    """Run all trials; ``rungs_from`` is the share of its budget that every trial may spend.

    Raises what a trial raised that did not end by itself or by its scheduler.
    """
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(stage.name.split("/")[1], []).append(stage)
    with ThreadPoolExecutor(len(groups)) as pool:
        found = [pool.submit(_sweep_one, group, site, rungs_from) for group in groups.values()]
        return [trial for future in found for trial in future.result()]


def _sweep_one(stages: list[Stage], site: Site, rungs_from: float) -> list[Trial]:
    name, by_address = f"sweep-{uuid.uuid4().hex}", {stage.address: stage for stage in stages}
    total = stages[0].tokens
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_trial, stages=by_address, site=site), _resources(stages[0])
        ),
        param_space={"address": tune.grid_search(list(by_address))},
        tune_config=tune.TuneConfig(
            scheduler=ASHAScheduler(
                time_attr="tokens",
                metric="nats_per_token",
                mode="min",
                max_t=2 * total,  # a trial ends by itself, with its record
                grace_period=max(1, round(rungs_from * total)),
                reduction_factor=REDUCTION_FACTOR,
            )
        ),
        run_config=tune.RunConfig(name=name, storage_path=site.store.foreign(name), verbose=0),
    )
    results = tuner.fit()
    site.store.remove_foreign(name)
    for result in results:
        if result.error is not None:
            raise result.error
    return [_found(by_address, result.metrics or {}) for result in results]


def _found(stages: Mapping[str, Stage], metrics: Mapping) -> Trial:
    stage = stages[metrics["config"]["address"]]
    _, modality, rate = stage.name.split("/")
    diverged = metrics["nats_per_token"] == WORST_NATS
    return Trial(
        modality=modality,
        peak_lr=float(rate.removeprefix("lr-")),
        tokens=int(metrics["tokens"]),
        of_tokens=stage.tokens,
        nats_per_token=None if diverged else float(metrics["nats_per_token"]),
        bits_per_second=None if diverged else float(metrics["bits_per_second"]),
        address=stage.address,
    )


def _resources(stage: Stage) -> dict[str, float]:
    """One worker's share: trials are many and small."""
    gpus = {"GPU": stage.demand.gpus} if stage.demand.gpus else {}
    return {"CPU": stage.demand.cpus, **gpus}


def _trial(config: dict, stages: Mapping[str, Stage], site: Site) -> None:
    """One training run; each of its validations goes to the scheduler, which may end it there.

    A rate at which the run diverges is an answer too.
    """
    import torch

    from ray_slm.training.world import World

    torch.set_num_threads(1)
    stage = stages[config["address"]]
    if site.store.has(stage.address):
        _report(site.store.record(stage.address)["summary"])
        return
    device = torch.device("cuda" if stage.demand.gpus and torch.cuda.is_available() else "cpu")
    heard = {"tokens": 0}
    try:
        verbs.train(stage, site, World(device=device), listener=partial(_hear, heard))
    except DivergedError:
        _report({**heard, "nats_per_token": WORST_NATS, "bits_per_second": WORST_NATS})


def _hear(heard: dict, line: Mapping[str, object]) -> None:
    heard["tokens"] = line["tokens"]
    if is_validation(line):
        _report(line)


def _report(point: Mapping) -> None:
    names = ("tokens", "nats_per_token", "bits_per_second")
    tune.report({name: point[name] for name in names})
