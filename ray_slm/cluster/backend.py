"""Stages on a Ray cluster, steered by threads of the driver.

A thread waits for Ray Data, Ray Train or Ray Tune to end a stage; the work itself is in tasks and
actors.  A steering process per stage would cost seconds of start-up and hundreds of megabytes.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Condition, Lock

import ray

from ray_slm import recipes
from ray_slm.cluster import notice
from ray_slm.cluster.evaluate import evaluate_wave
from ray_slm.cluster.prepare import prepare
from ray_slm.cluster.retries import despite_losses
from ray_slm.cluster.tokenize import ENCODER_CPUS, LIGHT_CPUS, fit_codebook, tokenize
from ray_slm.cluster.train import train
from ray_slm.cluster.watch import Watch
from ray_slm.errors import ResourceError
from ray_slm.modalities.modality import Form
from ray_slm.scheduling.capacity import Nodes, impossible
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import local
from ray_slm.stages.site import Site

WAVE_PATIENCE_SECONDS = 3.0  # a Tune grid costs seconds to start: let a few checkpoints gather
MOST_THREADS = 256  # all but the running ones sleep

Errors = Mapping[str, BaseException]  # by address


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
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="stage")
        self._stages: dict[Future[Errors], list[Stage]] = {}
        self._gathering: list[Stage] = []
        self._gathering_since = 0.0
        self._wave: Future[Errors] | None = None
        self._encoding: defaultdict[str, Lock] = defaultdict(Lock)  # by modality
        # The longest path runs from codebook to the evaluation of speech.  On one machine the
        # start of other training runs would stretch its first steps from seconds to minutes.
        self._unencoded: set[str] = set()  # modalities
        self._encoded = Condition()
        self._watch = Watch()

    def submit(self, stage: Stage) -> None:
        """Start a stage; evaluations gather until the next wave."""
        if isinstance(stage.recipe, recipes.Evaluate):
            if not self._gathering:
                self._gathering_since = time.monotonic()
            self._gathering.append(stage)
            return
        if self._capacity and _leads_to_speech(stage):
            with self._encoded:
                self._unencoded.add(_modality(stage))
        future = self._threads.submit(despite_losses, partial(self._steer, stage))
        future.add_done_callback(partial(self._release, stage))
        self._stages[future] = [stage]

    def finished(self) -> list[tuple[Stage, BaseException | None]]:
        """What ended since the last call; starts the next wave of evaluations."""
        self._start_wave()
        for seconds in self._watch.nodes_that_leave():
            for address in self._training():
                notice.give(address, seconds)
        ready = [future for future in self._stages if future.done()]
        return [ended for future in ready for ended in self._collect(future)]

    def save_now(self, patience_seconds: float) -> None:
        """Have every training run save where it is, before the driver leaves."""
        running = self._training()
        print(f"stopping: asked {len(running)} training runs to save", file=sys.stderr, flush=True)
        late = notice.save_now(running, patience_seconds)
        for address in late:
            print(f"stopping: {address} did not save in time", file=sys.stderr, flush=True)

    def abandon(self) -> None:
        """Wait for no thread: the cluster is about to go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _steer(self, stage: Stage) -> Errors:
        match stage.recipe:
            case recipes.PrepareCorpus() | recipes.PrepareItems():
                prepare(stage, self._site)
            case recipes.FitVocabulary(stream=stream) if stream.form is Form.AUDIO:
                fit_codebook(stage, self._site)
            case recipes.Tokenize(stream=stream) if stream.form is Form.AUDIO:
                # Items wait for the corpus that training waits for: both would share encoders.
                with self._encoding[_modality(stage)]:
                    self._tokenize(stage)
            case recipes.Tokenize():
                self._tokenize(stage)
            case recipes.Train():
                with self._encoded:
                    self._encoded.wait_for(lambda: not self._unencoded)
                problem = self._refusal(stage)
                if problem is not None:
                    raise ResourceError(problem)
                try:
                    train(stage, self._site, own_cluster=self._capacity is not None)
                finally:
                    notice.forget(stage.address)
            case _:
                self._execute(stage)
        return {}

    def _refusal(self, stage: Stage) -> str | None:
        """Why the one machine there is can never run this stage."""
        if self._capacity is None:
            return None
        cpus, gpus = self._capacity.get("CPU", 0.0), self._capacity.get("GPU", 0.0)
        return impossible(stage, [Nodes("this machine", cpus, gpus, 1)])

    def _release(self, stage: Stage, future: Future[Errors]) -> None:
        """Let training start once the corpus is encoded, or never will be."""
        encoded = isinstance(stage.recipe, recipes.Tokenize) and _leads_to_speech(stage)
        if encoded or (_leads_to_speech(stage) and future.exception() is not None):
            with self._encoded:
                self._unencoded.discard(_modality(stage))
                self._encoded.notify_all()

    def _tokenize(self, stage: Stage) -> None:
        """A corpus goes through Ray Data; a task's few items are one plain task."""
        if isinstance(stage.inputs["corpus"].stage.recipe, recipes.PrepareCorpus):
            tokenize(stage, self._site)
        else:
            self._execute(stage)

    def _training(self) -> list[str]:
        """Addresses of the training runs that were submitted and have not ended."""
        stages = [s for f, group in self._stages.items() if not f.done() for s in group]
        return [stage.address for stage in stages if isinstance(stage.recipe, recipes.Train)]

    def _execute(self, stage: Stage) -> None:
        task = execute.options(name=stage.name, num_cpus=_cpus(stage))
        ray.get(task.remote(stage, self._site))

    def _start_wave(self) -> None:
        waited = time.monotonic() - self._gathering_since
        if self._wave is not None or not self._gathering or waited < WAVE_PATIENCE_SECONDS:
            return
        wave, self._gathering = self._gathering, []
        start: Callable[..., Errors] = evaluate_wave
        self._wave = self._threads.submit(despite_losses, partial(start, wave, self._site))
        self._stages[self._wave] = wave

    def _collect(self, future: Future[Errors]) -> list[tuple[Stage, BaseException | None]]:
        stages = self._stages.pop(future)
        if future is self._wave:
            self._wave = None
        error = future.exception()
        if error is not None:
            return [(stage, error) for stage in stages]
        errors = future.result()
        return [(stage, errors.get(stage.address)) for stage in stages]


def _leads_to_speech(stage: Stage) -> bool:
    """Whether a speech modality's training waits for this stage."""
    recipe = stage.recipe
    if not isinstance(recipe, recipes.FitVocabulary | recipes.Tokenize):
        return False
    of_corpus = isinstance(stage.inputs["corpus"].stage.recipe, recipes.PrepareCorpus)
    return of_corpus and recipe.stream.form is Form.AUDIO


def _modality(stage: Stage) -> str:
    return stage.name.split("/")[1]


def _cpus(stage: Stage) -> float:
    """An encoder takes a processor; everything else beside it takes little."""
    recipe = stage.recipe
    if isinstance(recipe, recipes.FitVocabulary | recipes.Tokenize):
        return ENCODER_CPUS if recipe.stream.form is Form.AUDIO else LIGHT_CPUS
    return LIGHT_CPUS
