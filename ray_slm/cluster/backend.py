"""Stages as Ray tasks.  A training run and a pass of Ray Data are steered by zero-CPU tasks."""

import time
from collections.abc import Mapping

import ray

from ray_slm import recipes
from ray_slm.cluster.evaluate import evaluate_wave
from ray_slm.cluster.prepare import prepare
from ray_slm.cluster.tokenize import tokenize
from ray_slm.cluster.train import impossible, train
from ray_slm.errors import ResourceError
from ray_slm.modalities.modality import Form
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import local
from ray_slm.stages.site import Site

WAVE_PATIENCE_SECONDS = 5.0  # a Tune grid costs seconds to start: let a few checkpoints gather


@ray.remote(max_retries=2)
def execute(stage: Stage, site: Site) -> None:
    """A stage that needs no parallelism, in one task."""
    local.execute(stage, site)


class RayBackend:
    """Submits stages as they become ready and collects how they ended.

    ``capacity`` is what the cluster has when it cannot grow: a run beyond it is refused.
    """

    def __init__(self, site: Site, capacity: Mapping[str, float] | None = None) -> None:
        self._site, self._capacity = site, capacity
        self._refused: list[tuple[Stage, BaseException | None]] = []
        self._stages: dict[ray.ObjectRef, list[Stage]] = {}
        self._gathering: list[Stage] = []
        self._gathering_since = 0.0
        self._wave: ray.ObjectRef | None = None

    def submit(self, stage: Stage) -> None:
        """Start a stage; evaluations gather until the next wave."""
        match stage.recipe:
            case recipes.Evaluate():
                if not self._gathering:
                    self._gathering_since = time.monotonic()
                self._gathering.append(stage)
                return
            case recipes.PrepareCorpus() | recipes.PrepareItems():
                task = prepare.options(name=stage.name)
            case recipes.Tokenize() if _is_large(stage):
                task = tokenize.options(name=stage.name)
            case recipes.Train():
                problem = impossible(stage, self._capacity) if self._capacity else None
                if problem is not None:
                    self._refused.append((stage, ResourceError(problem)))
                    return
                task = train.options(name=stage.name)
            case _:
                task = execute.options(name=stage.name, num_cpus=_cpus(stage))
        self._stages[task.remote(stage, self._site)] = [stage]

    def finished(self) -> list[tuple[Stage, BaseException | None]]:
        """What ended since the last call; starts the next wave of evaluations."""
        self._start_wave()
        refused, self._refused = self._refused, []
        if not self._stages:
            return refused
        refs = list(self._stages)
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        return [*refused, *(ended for ref in ready for ended in self._collect(ref))]

    def _start_wave(self) -> None:
        waited = time.monotonic() - self._gathering_since
        if self._wave is not None or not self._gathering or waited < WAVE_PATIENCE_SECONDS:
            return
        wave, self._gathering = self._gathering, []
        self._wave = evaluate_wave.remote(wave, self._site)
        self._stages[self._wave] = wave

    def _collect(self, ref: ray.ObjectRef) -> list[tuple[Stage, BaseException | None]]:
        stages = self._stages.pop(ref)
        if ref == self._wave:
            self._wave = None
        try:
            errors = ray.get(ref) or {}
        except Exception as error:
            # Whatever ended the task is the stage's outcome; the runner reports it.
            return [(stage, error) for stage in stages]
        return [(stage, errors.get(stage.address)) for stage in stages]


def _is_large(stage: Stage) -> bool:
    """A corpus goes through Ray Data; a task's few items are one plain task."""
    return isinstance(stage.inputs["corpus"].stage.recipe, recipes.PrepareCorpus)


def _cpus(stage: Stage) -> float:
    heavy = isinstance(stage.recipe, recipes.FitVocabulary | recipes.Tokenize)
    audio = heavy and stage.recipe.stream.form is Form.AUDIO
    return 1.0 if audio else min(0.5, stage.demand.cpus)
