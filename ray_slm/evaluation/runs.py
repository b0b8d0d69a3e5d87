"""Training runs as points of a curve, and how far a figure read off them can be trusted.

With several seeds the interval of a figure is taken over seeds.  A single run gets a moving-block
bootstrap, labeled "within-run": it knows nothing of what another seed would have done.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ray_slm.evaluation import curves
from ray_slm.evaluation.curves import MIN_CHECKPOINTS, Form
from ray_slm.evaluation.pair_scores import check, default_convention, final_layer

WITHIN_RUN = "within-run"
FEW_CHECKPOINTS = 6

Quantity = Callable[[np.ndarray], np.ndarray]  # parameters (R, K) -> figure (R,)


class Run(NamedTuple):
    """One run's trained checkpoints in order of tokens; legend: N checkpoints."""

    tokens_N: np.ndarray
    values_N: np.ndarray  # accuracy in (0, 1), or a loss


class Samples(NamedTuple):
    """A figure with its sampling variance: over seeds, or over replicates of one run."""

    estimate: float
    values: np.ndarray  # one per seed, or one per bootstrap replicate
    num_seeds: int

    @property
    def variance(self) -> float:
        """Variance of the estimate."""
        spread = float(np.var(self.values, ddof=1))
        return spread / self.num_seeds if self.num_seeds > 1 else spread

    @property
    def df(self) -> float:
        """Degrees of freedom of the variance; replicates are many enough to count as infinite."""
        return self.num_seeds - 1.0 if self.num_seeds > 1 else np.inf


class Spread(NamedTuple):
    """An estimate, its 95 % interval, and what the interval is over."""

    estimate: float
    low: float
    high: float
    interval: str


def accuracy_runs(pair_scores: pd.DataFrame) -> dict[tuple[str, str], list[Run]]:
    """Runs by (modality, task): accuracy of the final layer under the default convention.

    Untrained checkpoints are left out (their tokens have no logarithm).  Accuracies of 0 and
    100 % move in by half a pair, so that log-odds exist.
    """
    check(pair_scores)
    frame = default_convention(final_layer(pair_scores))
    keys = ["modality", "task", "seed", "tokens"]
    found = frame[frame["tokens"] > 0].groupby(keys, observed=True)["correct"].agg(["mean", "size"])
    edge = 0.5 / found["size"]
    points = found["mean"].clip(edge, 1 - edge).rename("value").reset_index()
    return {
        (str(modality), str(task)): _by_seed(group, "value")
        for (modality, task), group in points.groupby(["modality", "task"], observed=True)
    }


def loss_runs(losses: pd.DataFrame, value: str) -> dict[str, list[Run]]:
    """Runs by modality of a loss; columns modality, seed, tokens and ``value``."""
    trained = losses[losses["tokens"] > 0]
    return {
        str(modality): _by_seed(group, value)
        for modality, group in trained.groupby("modality", observed=True)
    }


def _by_seed(frame: pd.DataFrame, value: str) -> list[Run]:
    runs = []
    for seed, group in frame.groupby("seed", observed=True):
        ordered = group.sort_values("tokens")
        if ordered["tokens"].duplicated().any():
            raise ValueError(
                f"{frame['modality'].iloc[0]}, seed {seed}: two values for one number of tokens; "
                "select one split and task first"
            )
        runs.append(
            Run(ordered["tokens"].to_numpy(np.float64), ordered[value].to_numpy(np.float64))
        )
    return runs


def num_checkpoints(runs: Sequence[Run]) -> int:
    """Checkpoints of the shortest run."""
    return min(len(run.tokens_N) for run in runs)


def enough(runs: Sequence[Run], form: Form) -> bool:
    """Whether every run has three checkpoints and at least as many as the form has parameters."""
    return num_checkpoints(runs) >= max(MIN_CHECKPOINTS, curves.NUM_PARAMETERS[form])


def samples(runs: Sequence[Run], form: Form, figure: Quantity, *, rising: bool) -> Samples:
    """A figure of the fitted curve with its spread; ``rising`` for accuracies."""
    if not enough(runs, form):
        raise ValueError(
            f"{curves.TOO_FEW}: {num_checkpoints(runs)} trained, {MIN_CHECKPOINTS} needed; "
            "add checkpoint_hours to the study"
        )
    values = np.array([figure(curves.fit(form, *run, rising=rising))[0] for run in runs])
    if len(runs) > 1:
        return Samples(float(values.mean()), values, len(runs))
    replicates = figure(curves.block_bootstrap(form, *runs[0], rising=rising))
    return Samples(float(values[0]), replicates, 1)


def spread(found: Samples) -> Spread:
    """The 95 % interval: Student's over seeds, percentiles of the replicates of a single run."""
    if found.num_seeds == 1:
        low, high = np.quantile(found.values, [0.025, 0.975], method="inverted_cdf")
        return Spread(found.estimate, float(low), float(high), WITHIN_RUN)
    half = float(stats.t.ppf(0.975, found.df) * np.sqrt(found.variance))
    label = f"over {found.num_seeds} seeds"
    return Spread(found.estimate, found.estimate - half, found.estimate + half, label)


def combine(one: Samples, other: Samples, estimate: float, gradient: tuple[float, float]) -> Spread:
    """The interval of a function of two independent figures (delta method, Welch's df)."""
    terms = [g**2 * s.variance for g, s in zip(gradient, (one, other), strict=True)]
    total = sum(terms)
    if total <= 0:
        return Spread(estimate, estimate, estimate, _joint_label(one, other))
    squares = sum(t**2 / s.df for t, s in zip(terms, (one, other), strict=True))
    df = total**2 / squares if squares > 0 else np.inf
    half = float(stats.t.ppf(0.975, df) * np.sqrt(total))
    return Spread(estimate, estimate - half, estimate + half, _joint_label(one, other))


def _joint_label(one: Samples, other: Samples) -> str:
    fewest = min(one.num_seeds, other.num_seeds)
    return WITHIN_RUN if fewest == 1 else f"over {fewest} seeds"


def few_note(runs: Sequence[Run]) -> str:
    """A caution where a within-run interval rests on a handful of checkpoints."""
    count = num_checkpoints(runs)
    if len(runs) == 1 and count < FEW_CHECKPOINTS:
        return f"{count} checkpoints: the interval is rough"
    return ""
