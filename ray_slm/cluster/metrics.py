"""Our own Prometheus metrics, declared in one table: what dashboards and alerts may name.

Ray puts ``ray_`` before each name and serves them beside its own.  A metric comes to life in the
process that first emits it.
"""

import functools
from collections.abc import Mapping
from typing import Literal, NamedTuple

from ray.util.metrics import Counter, Gauge


class Metric(NamedTuple):
    """A metric as it is emitted.  Counters end in ``_total`` and only grow."""

    kind: Literal["counter", "gauge"]
    name: str
    tags: tuple[str, ...]
    description: str


_RUN = ("modality", "seed", "run")  # run: the fingerprint, of a seed there may be many
_STAGE = ("study", "kind")
_TOKENS = ("modality", "source")
METRICS = (
    Metric("gauge", "slm_stages", ("study", "kind", "state"), "Stages of the plan by state"),
    Metric("counter", "slm_stages_ended_total", (*_STAGE, "outcome"), "Stages that ended"),
    Metric("counter", "slm_stage_seconds_total", _STAGE, "Wall time of stages that ended"),
    Metric("gauge", "slm_train_loss", _RUN, "Nats per token of the last step"),
    Metric("gauge", "slm_train_held_out_loss", _RUN, "Nats per held-out token"),
    Metric("gauge", "slm_train_learning_rate", _RUN, "Learning rate of the last step"),
    Metric("gauge", "slm_train_grad_norm", _RUN, "Norm of the gradient before clipping"),
    Metric("gauge", "slm_train_tokens", _RUN, "Tokens trained so far"),
    Metric("gauge", "slm_train_budget_tokens", _RUN, "Tokens to be trained"),
    Metric("counter", "slm_train_tokens_total", _RUN, "Tokens trained, redone steps included"),
    Metric("counter", "slm_train_flops_total", _RUN, "FLOPs of real tokens, redone included"),
    Metric("counter", "slm_train_steps_total", _RUN, "Steps, redone ones included"),
    Metric("counter", "slm_train_seconds_total", _RUN, "Wall time of steps"),
    Metric("counter", "slm_train_data_seconds_total", _RUN, "Of it, waiting for data"),
    Metric("counter", "slm_train_starts_total", _RUN, "Attempts: more than one is a resume"),
    Metric("counter", "slm_tokenize_audio_seconds_total", _TOKENS, "Audio of tokenized shards"),
    Metric("counter", "slm_tokenize_shards_total", _TOKENS, "Shards tokenized"),
    Metric("counter", "slm_tokenize_seconds_total", _TOKENS, "Wall time of workers on shards"),
    Metric("counter", "slm_evaluations_total", ("modality",), "Evaluations made"),
    Metric("counter", "slm_evaluate_seconds_total", ("modality",), "Wall time of trials"),
)
DECLARED = {metric.name: metric for metric in METRICS}


@functools.cache
def _live(name: str) -> Counter | Gauge:
    metric = DECLARED[name]
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(name, description=metric.description, tag_keys=metric.tags)


def emit(name: str, value: float, tags: Mapping[str, str]) -> None:
    """Add to a counter, or set a gauge.  Every declared tag must have a value."""
    metric, live = DECLARED[name], _live(name)
    assert set(tags) == set(metric.tags), (name, tags)
    if isinstance(live, Gauge):
        live.set(value, tags=dict(tags))
    elif value > 0:
        live.inc(value, tags=dict(tags))
