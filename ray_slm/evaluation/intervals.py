"""Intervals that know of items and of seeds: the primary one, and the two-way bootstrap.

With three seeds, an interval from items alone covers the truth in about half of all studies, so
variance between seeds is added to that between clusters, with Satterthwaite's degrees of freedom.
Legend: S seeds, C clusters, J panels, R bootstrap replicates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from ray_slm.evaluation.clusters import Panel

ITEM_NOISE = "item noise only"
ONE_SIDED = "seed noise of one side only"
TWO_SEEDS = "two seeds: covers about 90 %"  # by simulation, as SEEN
ONE_CLUSTER = "one cluster: no interval"
NO_VARIANCE = "no variation: no interval"
EXACT = "exact, clusters as units"
SEEN = 1.25  # chosen by simulation, docs/decisions/0030


class Moments(NamedTuple):
    """A linear combination of accuracies, its variance and degrees of freedom (any shape)."""

    estimate: np.ndarray
    variance: np.ndarray
    df: np.ndarray


class _Seeds(NamedTuple):
    """What seeds add to a variance, how much of it is decisions' noise, and squares over df."""

    variance: np.ndarray
    of_decisions: np.ndarray
    squares: np.ndarray


class Interval(NamedTuple):
    """An estimate with its two-sided interval, in the unit of the estimate."""

    estimate: float
    low: float
    high: float
    standard_error: float
    df: float
    p: float  # two-sided, against 0; NaN where there is no interval
    note: str = ""


def moments(panels: Sequence[Panel], weights: Sequence[np.ndarray | float]) -> Moments:
    """Sum of weight_j * accuracy_j over panels of the same pairs (paired by item).

    Var = v_c + v_s - v_i: v_c is the cluster-robust variance of the seed-averaged combination,
    v_s the sum of weight_j^2 s_j^2 / S_j with s_j the standard deviation over the seeds of panel
    j, and v_i the noise of single decisions, which is in both (Cameron, Gelbach and Miller 2011).
    df = Var^2 / (v_c^2 / (C-1) + sum_j (weight_j^2 s_j^2 / S_j)^2 / (S_j - 1)).  Where v_s is
    less than ``SEEN`` times v_i, seeds differ by no more than decisions do: v_c alone is taken.
    A panel with one seed adds no seed term.  One cluster gives NaN, as does a zero variance's df.
    """
    sizes_C, num_clusters = panels[0].sizes_C, panels[0].num_clusters
    total = sizes_C.sum()
    means = [
        np.asarray(w)[..., None] * p.sums_SC.mean(-2) for p, w in zip(panels, weights, strict=True)
    ]
    combined_C = np.sum(means, axis=0)
    estimate = combined_C.sum(-1) / total
    if num_clusters < 2:
        return Moments(estimate, np.full_like(estimate, np.nan), np.full_like(estimate, np.nan))
    residual_C = combined_C - sizes_C * estimate[..., None]
    scale = num_clusters / (num_clusters - 1) / total**2
    of_clusters = scale * (residual_C**2).sum(-1)
    seeds = _seed_terms(panels, weights)
    seen = seeds.variance > SEEN * seeds.of_decisions
    variance = of_clusters + np.where(seen, seeds.variance - seeds.of_decisions, 0.0)
    squares = of_clusters**2 / (num_clusters - 1) + np.where(seen, seeds.squares, 0.0)
    safe = np.where(squares > 0, squares, 1.0)
    return Moments(estimate, variance, np.where(squares > 0, variance**2 / safe, np.nan))


def _seed_terms(panels: Sequence[Panel], weights: Sequence[np.ndarray | float]) -> _Seeds:
    """Sums over the panels that have several seeds."""
    found = _Seeds(np.zeros(()), np.zeros(()), np.zeros(()))
    for each, weight in zip(panels, weights, strict=True):
        if each.num_seeds > 1:
            share = np.asarray(weight) ** 2 / each.num_seeds
            term = share * each.accuracy_S.var(-1, ddof=1)
            found = _Seeds(
                found.variance + term,
                found.of_decisions + share * _decision_variance(each),
                found.squares + term**2 / (each.num_seeds - 1),
            )
    return found


def _decision_variance(panel: Panel) -> np.ndarray:
    """Variance of one seed's accuracy by what seeds and clusters do not explain."""
    num_clusters, total = panel.num_clusters, panel.sizes_C.sum()
    residual_SC = panel.sums_SC - panel.sizes_C * panel.accuracy_S[..., None]
    residual_SC = residual_SC - residual_SC.mean(-2, keepdims=True)
    freedom = (panel.num_seeds - 1) * (num_clusters - 1) / num_clusters
    return np.asarray((residual_SC**2).sum((-1, -2)) / freedom / total**2)


def half_width(found: Moments, level: float = 0.95) -> np.ndarray:
    """Half the width of the two-sided t interval; NaN where there is none."""
    return np.asarray(special.stdtrit(found.df, 0.5 + level / 2) * np.sqrt(found.variance))


def two_sided_p(distance: float, df: float) -> float:
    """Student's p of a distance from the null in standard errors."""
    return 2.0 * float(special.stdtr(df, -abs(distance)))


def linear_interval(
    panels: Sequence[Panel], weights: Sequence[float], *, level: float = 0.95
) -> Interval:
    """The primary interval of a linear combination of accuracies (science: section 12.3)."""
    found = moments(panels, weights)
    estimate, error = float(found.estimate), float(np.sqrt(found.variance))
    note = _note(panels, error)
    if note in (ONE_CLUSTER, NO_VARIANCE):
        return Interval(estimate, np.nan, np.nan, error, np.nan, np.nan, note)
    half, df = float(half_width(found, level)), float(found.df)
    p = two_sided_p(estimate / error, df)
    return Interval(estimate, estimate - half, estimate + half, error, df, p, note)


def _note(panels: Sequence[Panel], standard_error: float) -> str:
    if panels[0].num_clusters < 2:
        return ONE_CLUSTER
    # Sums of decisions are exact to about 1e-16, so anything this small is rounding.
    if not standard_error > 1e-12:
        return NO_VARIANCE
    single = [panel.num_seeds == 1 for panel in panels]
    if all(single):
        return ITEM_NOISE
    if any(single):
        return ONE_SIDED
    return TWO_SEEDS if min(panel.num_seeds for panel in panels) == 2 else ""


def accuracy_interval(panel: Panel, *, level: float = 0.95) -> Interval:
    """One accuracy in [0, 1], with cluster and seed variance, clipped to [0, 1]; p is against 1/2.

    When every decision is right (or every one wrong) no variance can be seen: the interval is
    then Clopper and Pearson's with clusters as units, which is what so many clusters allow.
    """
    found = linear_interval([panel], [1.0], level=level)
    accuracy = found.estimate
    if found.note == NO_VARIANCE and accuracy in (0.0, 1.0):
        bound = ((1 - level) / 2) ** (1 / panel.num_clusters)
        low, high = (bound, 1.0) if accuracy == 1.0 else (0.0, 1.0 - bound)
        return found._replace(low=low, high=high, note=EXACT)
    if found.note in (ONE_CLUSTER, NO_VARIANCE):
        return found
    p = two_sided_p((accuracy - 0.5) / found.standard_error, found.df)
    return found._replace(low=max(0.0, found.low), high=min(1.0, found.high), p=p)


def bootstrap(panels: Sequence[Panel], *, replicates: int = 2000, seed: int = 0) -> np.ndarray:
    """Accuracies (R, J) under resampling of clusters (shared by all panels) and of seeds.

    Seeds are resampled per panel; a single seed stays, so that only item noise is left.  Take
    percentiles of any function of the columns.
    """
    rng = np.random.default_rng(seed)
    num_clusters = panels[0].num_clusters
    out = np.empty((replicates, len(panels)))
    step = max(1, 4_000_000 // num_clusters)  # rows of weights held at once
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn_RC = rng.integers(0, num_clusters, (rows, num_clusters))
        drawn_RC += num_clusters * np.arange(rows)[:, None]
        counts_RC = np.bincount(drawn_RC.ravel(), minlength=drawn_RC.size).reshape(rows, -1)
        sizes_R = counts_RC @ panels[0].sizes_C
        for column, panel in enumerate(panels):
            chance = np.full(panel.num_seeds, 1 / panel.num_seeds)
            counts_RS = rng.multinomial(panel.num_seeds, chance, size=rows) / panel.num_seeds
            sums_R = ((counts_RC @ panel.sums_SC.T) * counts_RS).sum(1)
            out[start : start + rows, column] = sums_R / sizes_R
    return out


def percentiles(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap replicates."""
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
