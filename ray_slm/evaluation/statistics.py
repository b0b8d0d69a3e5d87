"""Effects on three scales, and the tests that go with a family of them.

Which of two factors does more harm can depend on the scale (points, log-odds, or the share of
the skill above chance that is lost), so all three are computed and a disagreement is put in words.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from ray_slm.evaluation.clusters import Panel
from ray_slm.evaluation.intervals import (
    Interval,
    accuracy_interval,
    half_width,
    linear_interval,
    moments,
    two_sided_p,
)

EQUIVALENCE_MARGIN_POINTS = 1.0
CHANCE = 0.5


class Effect(NamedTuple):
    """One contrast on one task, ``modality`` minus ``baseline``, paired by item."""

    points: Interval  # percentage points
    logit: Interval  # change in log-odds of the mean accuracy
    skill_lost: Interval  # percent of the baseline's accuracy above chance; NaN is "n/a"


def effect(baseline: Panel, modality: Panel) -> Effect:
    """The effect with primary intervals; log-odds and skill by the delta method.

    ``skill_lost`` is n/a unless the baseline's own interval lies above 50 %; ``logit`` is n/a
    when an accuracy is 0 or 100 %.
    """
    panels = [modality, baseline]
    ours, theirs = float(modality.accuracy), float(baseline.accuracy)
    points = linear_interval(panels, [100.0, -100.0])
    slopes = [_logit_slope(ours), -_logit_slope(theirs)]
    if np.isfinite(slopes).all():
        change = float(special.logit(ours) - special.logit(theirs))
        logit = _around(change, panels, slopes)
    else:
        logit = _not_available("logit n/a: an accuracy is 0 or 100 %")
    if accuracy_interval(baseline).low > CHANCE:
        skill = theirs - CHANCE
        kept = (ours - CHANCE) / skill
        lost = _around(100 * (1 - kept), panels, [-100 / skill, 100 * kept / skill])
    else:
        lost = _not_available("skill n/a: the baseline is not above chance")
    return Effect(points, logit, lost)


def _logit_slope(accuracy: float) -> float:
    return np.inf if accuracy in (0.0, 1.0) else 1 / (accuracy * (1 - accuracy))


def _around(estimate: float, panels: Sequence[Panel], gradient: Sequence[float]) -> Interval:
    """The delta-method interval: the variance of the gradient's combination, about an estimate."""
    linear = linear_interval(panels, gradient)
    if np.isnan(linear.low):
        return linear._replace(estimate=estimate)
    half = float(half_width(moments(panels, gradient)))
    p = two_sided_p(estimate / linear.standard_error, linear.df)
    return linear._replace(estimate=estimate, low=estimate - half, high=estimate + half, p=p)


def _not_available(note: str) -> Interval:
    return Interval(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, note)


def equivalence_p(points: Interval, margin: float = EQUIVALENCE_MARGIN_POINTS) -> float:
    """p of the two one-sided tests that the effect lies within +-margin; NaN without variance."""
    if not points.standard_error > 0 or np.isnan(points.df):
        return np.nan
    distance = (margin - abs(points.estimate)) / points.standard_error
    return float(stats.t.sf(distance, points.df))


def equivalence_verdict(p: float, alpha: float = 0.05) -> str:
    """ "equivalent" when the two one-sided tests reject, "inconclusive" otherwise."""
    return "equivalent" if p < alpha else "inconclusive"


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm-adjusted p over a family fixed beforehand.

    A test that could not be done (NaN) still belongs to the family: it counts as p = 1, so that
    missing cells cannot make the others look better, and stays NaN.
    """
    return _adjusted(p_values, _step_down)


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """False-discovery-rate adjusted p for exploratory families; NaN as in ``holm``."""
    return _adjusted(p_values, stats.false_discovery_control)


def _step_down(p_values: np.ndarray) -> np.ndarray:
    """Holm's: statsmodels has it too, and collects all garbage of the process at each call."""
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(scaled).clip(max=1.0)
    return adjusted


def _adjusted(p_values: np.ndarray, adjust: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    values = np.asarray(p_values, dtype=np.float64)
    if values.size == 0:
        return values
    known = ~np.isnan(values)
    return np.where(known, adjust(np.where(known, values, 1.0)), np.nan)


class Disagreement(NamedTuple):
    """Two factors that scales rank unlike on a task: by scale, the one that does more first."""

    task: str
    larger: dict[str, tuple[str, str]]


def disagreements(table: pd.DataFrame) -> list[Disagreement]:
    """Where the scales do not agree which of two factors does more in the same direction.

    Args:
        table: the frame of ``contrasts.table3``; effects whose interval includes 0, or is not
            known, are not ranked, because their order is noise.
    """
    told = []
    settled = table[(table["low"] > 0) | (table["high"] < 0)]
    for task, rows in settled.groupby("task", sort=False, observed=True):
        for (_, one), (_, other) in itertools.combinations(rows.iterrows(), 2):
            if one["factor"] == other["factor"] or one["points"] * other["points"] < 0:
                continue
            larger = _larger_by_scale(one, other)
            if len(set(larger.values())) > 1:
                told.append(Disagreement(str(task), larger))
    return told


def _larger_by_scale(one: pd.Series, other: pd.Series) -> dict[str, tuple[str, str]]:
    """For each scale that both have: the order of the two factors."""
    names = {"points": "points", "logit": "log-odds", "skill_lost": "above-chance skill"}
    first, second = (_contrast_name(row) for row in (one, other))
    found = {}
    for column, name in names.items():
        difference = abs(one[column]) - abs(other[column])
        if not np.isnan(difference) and difference != 0:
            found[name] = (first, second) if difference > 0 else (second, first)
    return found


def _contrast_name(row: pd.Series) -> str:
    return f"{row['factor']} ({row['baseline']} to {row['modality']})"
