"""What a study does, told to Prometheus: a backend that counts, and a reader of training steps.

Both only look on: the study runs the same without them.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from ray_slm.cluster.metrics import emit
from ray_slm.recipes import Train
from ray_slm.scheduling.runner import Backend
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.training.journal import is_step

# Ray shows a gauge for one report after it was set: what should stay must be set again.
REPEAT_SECONDS = 1.0
FROM_STEPS = {
    "loss": "slm_train_loss",
    "lr": "slm_train_learning_rate",
    "grad_norm": "slm_train_grad_norm",
    "tokens": "slm_train_tokens",
    "nats_per_token": "slm_train_held_out_loss",
}
PER_STEP = {
    "num_tokens": "slm_train_tokens_total",
    "flops": "slm_train_flops_total",
    "seconds": "slm_train_seconds_total",
    "data_seconds": "slm_train_data_seconds_total",
}


class MeasuredBackend:
    """Passes everything on to another backend and counts what starts and ends."""

    def __init__(self, backend: Backend, plan: Sequence[Stage], store: Store) -> None:
        self._backend, self._study = backend, plan[-1].name.split("/", 1)[1]  # report/<study>
        self._started: dict[str, float] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        for stage in plan:
            self._counts[kind_of(stage), "planned"] += 1
            self._counts[kind_of(stage), "done"] += store.has(stage.address)
        self._shown_at = 0.0
        self._show()

    def submit(self, stage: Stage) -> None:
        """Start a stage."""
        self._started[stage.address] = time.monotonic()
        self._counts[kind_of(stage), "running"] += 1
        self._backend.submit(stage)

    def finished(self) -> list[tuple[Stage, BaseException | None]]:
        """What ended since the last call."""
        ended = self._backend.finished()
        for stage, error in ended:
            kind, outcome = kind_of(stage), "done" if error is None else "failed"
            self._counts[kind, "running"] -= 1
            self._counts[kind, outcome] += 1
            seconds = time.monotonic() - self._started.pop(stage.address)
            tags = {"study": self._study, "kind": kind}
            emit("slm_stage_seconds_total", seconds, tags)
            emit("slm_stages_ended_total", 1, {**tags, "outcome": outcome})
        if ended or time.monotonic() - self._shown_at > REPEAT_SECONDS:
            self._show()
        return ended

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        for kind in {kind for kind, _ in self._counts}:
            for state in ("planned", "done", "running", "failed"):
                tags = {"study": self._study, "kind": kind, "state": state}
                emit("slm_stages", self._counts[kind, state], tags)


class TrainingMetrics:
    """Hears every line of a run's journal, on rank 0."""

    def __init__(self, stage: Stage) -> None:
        assert isinstance(stage.recipe, Train)
        self._tags = run_tags(stage)
        self._gauges = {"slm_train_budget_tokens": float(stage.recipe.total_tokens)}
        emit("slm_train_starts_total", 1, self._tags)

    def __call__(self, line: Mapping[str, object]) -> None:
        """One step, one measurement on held-out text, or an event."""
        for field, name in FROM_STEPS.items():
            if field in line:
                self._gauges[name] = _number(line[field])
        for name, value in self._gauges.items():
            emit(name, value, self._tags)
        if is_step(line):
            emit("slm_train_steps_total", 1, self._tags)
            for field, name in PER_STEP.items():
                emit(name, _number(line[field]), self._tags)


def _number(value: object) -> float:
    assert isinstance(value, int | float), value
    return float(value)


def kind_of(stage: Stage) -> str:
    """The first part of a stage's name: corpus, items, vocabulary, tokens, train, evaluate."""
    return stage.name.split("/")[0]


def run_tags(stage: Stage) -> dict[str, str]:
    """Which training run it is: modality and seed from its name, and its fingerprint."""
    _, modality, seed = stage.name.split("/")[:3]
    return {"modality": modality, "seed": seed.removeprefix("seed-"), "run": stage.fingerprint}


def shard_tokenized(stage: Stage, audio_seconds: float, seconds: float) -> None:
    """Tell of a shard: the audio that it stands for, and how long a worker took."""
    _, modality, source = stage.name.split("/", 2)
    tags = {"modality": modality, "source": source}
    emit("slm_tokenize_shards_total", 1, tags)
    emit("slm_tokenize_audio_seconds_total", audio_seconds, tags)
    emit("slm_tokenize_seconds_total", seconds, tags)


def checkpoint_evaluated(stages: Sequence[Stage], seconds: float) -> None:
    """Tell of a trial: the evaluations of one checkpoint."""
    for modality, number in Counter(stage.name.split("/")[1] for stage in stages).items():
        emit("slm_evaluations_total", number, {"modality": modality})
        emit("slm_evaluate_seconds_total", seconds * number / len(stages), {"modality": modality})
