"""Stages on a Ray cluster, steered by threads of the driver.

A thread waits for Ray Data, Ray Train or Ray Tune to end a stage; the work itself is in tasks and
actors.  A steering process per stage would cost seconds of start-up and hundreds of megabytes.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Condition, Lock

import ray

from ray_slm import recipes
from ray_slm.cluster import notice
from ray_slm.cluster.evaluate import Ended, Evaluations
from ray_slm.cluster.prepare import prepare
from ray_slm.cluster.retries import despite_losses
from ray_slm.cluster.tokenize import ENCODER_CPUS, LIGHT_CPUS, fit_codebook, tokenize
from ray_slm.cluster.train import train
from ray_slm.cluster.trainer import Controllers
from ray_slm.cluster.watch import Watch, can_grow
from ray_slm.errors import ResourceError
from ray_slm.modalities.modality import Form
from ray_slm.scheduling.capacity import Nodes, impossible
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import local
from ray_slm.stages.site import Site

MOST_EVALUATORS = 16  # of a cluster that can grow
CPUS_PER_EVALUATOR = 4  # of one that cannot, while training needs its processors
CPUS_PER_EVALUATOR_ALONE = 2
WORTH_MORE_EVALUATORS_SECONDS = 30.0  # the start of one takes processor seconds, too
MOST_THREADS = 256  # all but the running ones sleep


@ray.remote(max_retries=2)
def execute(stage: Stage, site: Site) -> None:
    """A stage that needs no parallelism, in one task."""
    local.execute(stage, site)


class RayBackend:
    """Submits stages as they become ready and collects how they ended.

    ``capacity`` is what the cluster has when it cannot grow: a run beyond it is refused.
    """

    def __init__(
        self, site: Site, plan: Sequence[Stage], capacity: Mapping[str, float] | None = None
    ) -> None:
        self._site, self._capacity = site, capacity
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="stage")
        self._stages: dict[Future[None], Stage] = {}
        self._ready: list[Stage] = []  # evaluations
        # Warm evaluators hold processors while they wait: where none can be added, encoders and
        # trainers that are still to come would wait for them, and they for these.
        # Few autoscalers say that they are there; one whose workers are all gone has no processor.
        processors = ray.cluster_resources().get("CPU", 0.0)
        self._processors = processors if processors and not can_grow() else None
        most = self._evaluators(CPUS_PER_EVALUATOR_ALONE)
        self.evaluations = Evaluations(plan, site, most)
        self._encoding: defaultdict[str, Lock] = defaultdict(Lock)  # by modality
        # The longest path runs from codebook to the evaluation of speech.  On one machine the
        # start of other training runs would stretch its first steps from seconds to minutes.
        self._unencoded: set[str] = set()  # modalities
        self._encoded = Condition()
        self._watch = Watch()
        self._controllers = Controllers()

    def submit(self, stage: Stage) -> None:
        """Start a stage; an evaluation at the next `finished`, with others of its checkpoint."""
        if isinstance(stage.recipe, recipes.Evaluate):
            self._ready.append(stage)
            return
        if isinstance(stage.recipe, recipes.Train):
            self.evaluations.begin()  # an actor is warm before the first checkpoint comes
        if self._capacity and _leads_to_speech(stage):
            with self._encoded:
                self._unencoded.add(_modality(stage))
        future = self._threads.submit(despite_losses, partial(self._steer, stage))
        future.add_done_callback(partial(self._release, stage))
        self._stages[future] = stage

    def finished(self) -> list[Ended]:
        """What ended since the last call; starts the evaluations that were submitted."""
        if self._ready:
            ready, self._ready = self._ready, []
            self.evaluations.add(ready)
        training = self._training()
        few = training or self.evaluations.backlog_seconds() < WORTH_MORE_EVALUATORS_SECONDS
        cpus_each = CPUS_PER_EVALUATOR if few else CPUS_PER_EVALUATOR_ALONE
        self.evaluations.allow(self._evaluators(cpus_each))
        for seconds in self._watch.nodes_that_leave():
            for address in training:
                notice.give(address, seconds)
        done = [future for future in self._stages if future.done()]
        ended = [(self._stages.pop(future), future.exception()) for future in done]
        return [*ended, *self.evaluations.ended()]

    def save_now(self, patience_seconds: float) -> None:
        """Have every training run save where it is, before the driver leaves."""
        running = self._training()
        print(f"stopping: asked {len(running)} training runs to save", file=sys.stderr, flush=True)
        late = notice.save_now(running, patience_seconds)
        for address in late:
            print(f"stopping: {address} did not save in time", file=sys.stderr, flush=True)

    def abandon(self) -> None:
        """Wait for no thread: the cluster is about to go."""
        self.evaluations.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _evaluators(self, cpus_each: int) -> int:
        """How many evaluate at once: by processors where no others may come."""
        if self._processors is None:
            return MOST_EVALUATORS
        found = max(1, int(self._processors) // cpus_each)
        return found if self._capacity else min(found, MOST_EVALUATORS)

    def _steer(self, stage: Stage) -> None:
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
                    train(stage, self._site, self._controllers)
                finally:
                    notice.forget(stage.address)
            case _:
                self._execute(stage)

    def _refusal(self, stage: Stage) -> str | None:
        """Why the one machine there is can never run this stage."""
        if self._capacity is None:
            return None
        cpus, gpus = self._capacity.get("CPU", 0.0), self._capacity.get("GPU", 0.0)
        return impossible(stage, [Nodes("this machine", cpus, gpus, 1)])

    def _release(self, stage: Stage, future: Future[None]) -> None:
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
        stages = [stage for future, stage in self._stages.items() if not future.done()]
        return [stage.address for stage in stages if isinstance(stage.recipe, recipes.Train)]

    def _execute(self, stage: Stage) -> None:
        task = execute.options(name=stage.name, num_cpus=_cpus(stage))
        ray.get(task.remote(stage, self._site))


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
