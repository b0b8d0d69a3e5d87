"""Evaluations as one Ray Tune run that lasts as long as the study: a trial per ready checkpoint.

A searcher hands checkpoints out as their records appear, and Tune keeps an actor warm between
trials.  A trial loads the weights once and scores every task that is ready, at every layer.
Tune's state is never the truth: a stage is done when its record exists, whatever Tune believes.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from ray_slm.cluster.measured import checkpoint_evaluated
from ray_slm.cluster.retries import despite_losses
from ray_slm.recipes import Evaluate
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import evaluate as verbs
from ray_slm.stages.site import Site

TRIAL_CPUS = 0.25
TRIES = 4  # of work that Tune lost; it counts one lost actor several times, so we count
CLOSING_SECONDS = 10.0
IDLE_SECONDS = 60.0  # Tune's loop stands still while there is nothing to evaluate
REFUSAL = "refusal"
NOTHING = ""  # a trial that only warms an actor up

Ended = tuple[Stage, BaseException | None]


class Exchange:
    """What the driver's thread and Tune's tell each other.  Work is addresses in one string."""

    def __init__(self) -> None:
        self.todo: deque[str] = deque()
        self.ended: deque[tuple[str, BaseException | None]] = deque()
        self.started: dict[str, float] = {}  # Unix seconds
        self.seconds: list[float] = []  # of trials that ended
        self.closed = False
        self.at_once = 1
        self.out: set[str] = set()  # trials that were handed out and have not ended
        self.news = threading.Event()  # something was added or closed


_exchanges: dict[str, Exchange] = {}  # Tune copies and pickles what it is given: names, that is


class Evaluations:
    """Evaluations of one study, by at most ``most_at_once`` actors, each slow to start."""

    def __init__(self, plan: Iterable[Stage], site: Site, most_at_once: int) -> None:
        self._stages = {s.address: s for s in plan if isinstance(s.recipe, Evaluate)}
        self._site, self._most = site, most_at_once
        self._name = f"evaluations-{uuid.uuid4().hex}"
        self.exchange = _exchanges.setdefault(self._name, Exchange())
        self.allow(most_at_once)
        self._open: dict[str, int] = {}  # work that has not ended: how often it was given to Tune
        self._giving = threading.Lock()  # Tune starts anew, with what is open, in its own thread
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluations")
        self._run: Future[None] | None = None

    def begin(self) -> None:
        """Start Tune and warm an actor up, if that was not done."""
        if self._run is None and self._stages:
            self._run = self._thread.submit(despite_losses, self._tune)

    def allow(self, at_once: int) -> None:
        """From now on, so many actors at once, of the most there can be."""
        self.exchange.at_once = min(at_once, self._most)

    def backlog_seconds(self) -> float:
        """What open work will take one actor, judged by trials that ended; 0 before any has."""
        seconds = self.exchange.seconds
        return len(self._open) * sum(seconds) / max(1, len(seconds))

    def add(self, stages: Sequence[Stage]) -> None:
        """Evaluate stages that are ready: those of one checkpoint together."""
        groups: dict[str, list[str]] = {}
        for stage in stages:
            groups.setdefault(stage.inputs["checkpoint"].address, []).append(stage.address)
        work = [" ".join(addresses) for addresses in groups.values()]
        with self._giving:
            self._open.update(dict.fromkeys(work, 1))
            self.exchange.todo.extend(work)
        self.exchange.news.set()
        self.begin()

    def ended(self) -> list[Ended]:
        """Stages that ended since the last call, each with its error if it failed."""
        found: list[Ended] = []
        with self._giving:
            while self.exchange.ended:
                found += self._close(*self.exchange.ended.popleft())
        if self._run is not None and self._run.done():
            error = self._run.exception() or RuntimeError("Ray Tune ended early")
            found += [end for work in list(self._open) for end in self._outcome(work, error)]
        return found

    def close(self) -> None:
        """Let Tune end before its cluster does."""
        self.exchange.closed = True
        self.exchange.news.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._run is not None:
            deadline = time.monotonic() + CLOSING_SECONDS
            while not self._run.done() and time.monotonic() < deadline:
                time.sleep(0.1)
        _exchanges.pop(self._name, None)

    def _close(self, work: str, error: BaseException | None) -> list[Ended]:
        if work not in self._open:
            return []  # it warmed up
        whole = all(self._site.store.has(address) for address in work.split())
        if not whole and not isinstance(error, ValueError) and self._open[work] < TRIES:
            self._open[work] += 1
            self.exchange.todo.append(work)
            self.exchange.news.set()
            return []
        return self._outcome(work, error or RuntimeError("the trial ended without a record"))

    def _outcome(self, work: str, error: BaseException) -> list[Ended]:
        """Each stage of a piece of work, with the error where it left no record."""
        del self._open[work]
        stages = [self._stages[address] for address in work.split()]
        return [(s, None if self._site.store.has(s.address) else error) for s in stages]

    def start_over(self) -> None:
        """What is open is to be handed out, also after a loss; what has records ends at once."""
        with self._giving:
            self.exchange.todo = deque([NOTHING, *self._open])
            self.exchange.out.clear()
            self.exchange.ended.clear()

    def _tune(self) -> None:
        self.start_over()
        trainable = tune.with_parameters(trial, stages=self._stages, site=self._site)
        tune.Tuner(
            tune.with_resources(trainable, trial_demand(self._stages.values())),
            tune_config=tune.TuneConfig(
                search_alg=Ready(self._name),
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=self._most,
            ),
            run_config=tune.RunConfig(
                name="evaluations",
                storage_path=self._site.store.foreign(self._name),
                verbose=0,
                callbacks=[Ends(self._name)],
            ),
        ).fit()
        self._site.store.remove_foreign(self._name)


class Ready(Searcher):  # type: ignore[misc]
    """Hands work out as it comes; Tune asks again while there is none."""

    def __init__(self, name: str) -> None:
        super().__init__(metric="evaluations", mode="max")
        self._name = name

    def suggest(self, trial_id: str) -> dict | str | None:
        """The next work, None for none yet, or that no more will come."""
        exchange = _exchanges.get(self._name)
        if exchange is not None:
            exchange.news.clear()
            if not (exchange.todo or exchange.out or exchange.closed):
                exchange.news.wait(IDLE_SECONDS)  # Tune itself would sleep a second, news or not
        if exchange is None or exchange.closed:
            return str(Searcher.FINISHED)
        if not exchange.todo or len(exchange.out) >= exchange.at_once:
            return None
        exchange.out.add(trial_id)
        return {"work": exchange.todo.popleft()}

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        """Make room for the next."""
        if self._name in _exchanges:
            _exchanges[self._name].out.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: records are the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Know nothing."""


class Ends(tune.Callback):  # type: ignore[misc]
    """Tells the driver of trials that start and end."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: object
    ) -> None:
        """Note when an evaluation began."""
        _exchanges[self._name].started.setdefault(trial.config["work"], time.time())

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: object
    ) -> None:
        """Its records should be there, unless it refused."""
        refusal = trial.last_result.get(REFUSAL)
        error = ValueError(refusal) if refusal else None
        exchange, work = _exchanges[self._name], trial.config["work"]
        if work != NOTHING:
            exchange.seconds.append(time.time() - exchange.started[work])
        exchange.ended.append((work, error))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: object
    ) -> None:
        """It died, or met what it did not foresee: the last line of its error says what."""
        lines = Path(trial.error_file).read_text().splitlines() if trial.error_file else []
        error = RuntimeError(lines[-1] if lines else "the trial failed")
        _exchanges[self._name].ended.append((trial.config["work"], error))


def trial(config: dict, stages: Mapping[str, Stage], site: Site) -> None:
    """Evaluations of one checkpoint.  A ValueError would come again: told, not raised."""
    import torch

    torch.set_num_threads(1)
    wanted = [stages[address] for address in config["work"].split()]
    missing = [stage for stage in wanted if not site.store.has(stage.address)]
    refusal = ""
    if missing:
        start = time.perf_counter()
        try:
            verbs.evaluate(missing, site, "cuda" if ray.get_gpu_ids() else "cpu")
        except ValueError as error:
            refusal = str(error)
        checkpoint_evaluated(missing, time.perf_counter() - start)
    tune.report({"evaluations": len(missing), REFUSAL: refusal})


def trial_demand(stages: Iterable[Stage]) -> dict[str, float]:
    """What one trial takes: the largest demand among the study's evaluations."""
    gpus = max(stage.demand.gpus for stage in stages)
    return {"CPU": TRIAL_CPUS, **({"GPU": gpus} if gpus else {})}
