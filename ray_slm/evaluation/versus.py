"""Two studies beside each other: by how much they differ, and how sure that is.

Where both judged the same items the difference is paired by item; where they did not, their noise
adds up.  Nothing is said of items that one of them lacks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ray_slm.evaluation.clusters import Panel, panel, panels
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.intervals import Interval, linear_interval
from ray_slm.evaluation.pair_scores import headline
from ray_slm.evaluation.statistics import benjamini_hochberg

UNPAIRED = "other items: unpaired"
_COLUMNS = ("task", "first", "second", "points", "low", "high", "p", "p_fdr", "num_shared", "note")


class Judged(NamedTuple):
    """One study: its decisions, and the content of its pairs, by which items are the same."""

    pair_scores: pd.DataFrame
    pairs: pd.DataFrame  # task, pair, positive, negative


def accuracies(first: Judged, second: Judged) -> pd.DataFrame:
    """Second minus first, at each one's last checkpoint, for every modality and task of both.

    Returns:
        modality, task, first, second (percent), points, low, high, p, p_fdr (exploratory), \
num_shared (pairs judged in both), note.
    """
    frames = headline(first.pair_scores), headline(second.pair_scores)
    shared = _shared(first.pairs, second.pairs)
    rows = []
    for modality, task in _common(frames, ["modality", "task"]):
        sides = [f[(f["modality"] == modality) & (f["task"] == task)] for f in frames]
        rows.append({"modality": modality, **_row(task, [(sides[0], -1), (sides[1], 1)], shared)})
    return _table(rows, ("modality",))


def effects(first: Judged, second: Judged, contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """How much more a factor does in the second study than in the first, for each contrast.

    Returns: factor, baseline, modality, then as ``accuracies``; first and second are the effects.
    """
    frames = headline(first.pair_scores), headline(second.pair_scores)
    shared = _shared(first.pairs, second.pairs)
    common = set(_common(frames, ["modality", "task"]))
    rows = []
    for contrast in contrasts:
        names = (contrast.baseline, contrast.modality)
        for task in sorted({t for m, t in common if m == names[0]}):
            if (names[1], task) not in common:
                continue
            signed = [
                (frame[(frame["modality"] == name) & (frame["task"] == task)], sign)
                for frame, study in zip(frames, (-1, 1), strict=True)
                for name, sign in zip(names, (-study, study), strict=True)
            ]
            labels = dict(
                zip(("factor", "baseline", "modality"), (contrast.factor, *names), strict=True)
            )
            rows.append({**labels, **_row(task, signed, shared)})
    return _table(rows, ("factor", "baseline", "modality"))


def _common(frames: tuple[pd.DataFrame, pd.DataFrame], keys: list[str]) -> list[tuple[str, str]]:
    found = [set(frame[keys].itertuples(index=False, name=None)) for frame in frames]
    return sorted(found[0] & found[1])


def _shared(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Pairs that both studies have, with the same two sides."""
    keys = ["task", "pair", "positive", "negative"]
    return one[keys].merge(other[keys], on=keys)[["task", "pair"]]


def _row(
    task: str, signed: list[tuple[pd.DataFrame, int]], shared: pd.DataFrame
) -> dict[str, object]:
    """The difference of two or four frames; the first half are the first study's."""
    common = set(shared.loc[shared["task"] == task, "pair"])
    for frame, _ in signed:
        common &= set(frame["pair"])
    if common:
        found = panels([frame[frame["pair"].isin(common)] for frame, _ in signed])
        interval = linear_interval(found, [100.0 * sign for _, sign in signed])
        note = interval.note
    else:
        found = [panel(frame) for frame, _ in signed]
        interval, note = _independent(found, signed), UNPAIRED
    half = len(signed) // 2
    values = [100 * sign * float(p.accuracy) for p, (_, sign) in zip(found, signed, strict=True)]
    return {
        "task": task,
        "first": -sum(values[:half]),
        "second": sum(values[half:]),
        **{"points": interval.estimate, "low": interval.low, "high": interval.high},
        **{"p": interval.p, "num_shared": len(common), "note": note},
    }


def _independent(found: list[Panel], signed: list[tuple[pd.DataFrame, int]]) -> Interval:
    """The difference of two studies on other items: variances add, degrees of freedom by Welch."""
    half = len(found) // 2
    parts = []
    for part in (slice(0, half), slice(half, None)):
        pairs = panels([frame for frame, _ in signed[part]])
        parts.append(linear_interval(pairs, [100.0 * sign for _, sign in signed[part]]))
    estimate = sum(part.estimate for part in parts)
    terms = [part.standard_error**2 for part in parts]
    freedoms = [part.df for part in parts]
    if not np.isfinite([*terms, *freedoms]).all() or not sum(terms) > 0:
        return Interval(estimate, np.nan, np.nan, np.nan, np.nan, np.nan)
    error = float(np.sqrt(sum(terms)))
    df = sum(terms) ** 2 / sum(t**2 / d for t, d in zip(terms, freedoms, strict=True))
    width = float(stats.t.ppf(0.975, df)) * error
    p = 2 * float(stats.t.sf(abs(estimate) / error, df))
    return Interval(estimate, estimate - width, estimate + width, error, df, p)


def _table(rows: list[dict[str, object]], names: tuple[str, ...]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[*names, *(c for c in _COLUMNS if c != "p_fdr")])
    place = table.columns.get_loc("p") + 1
    table.insert(place, "p_fdr", benjamini_hochberg(table["p"].to_numpy(dtype=np.float64)))
    return table
