"""What a factor costs in training: slopes compared, and tokens needed to reach an accuracy.

Every figure says whether it was extrapolated beyond what was trained; a goal that the fitted
curve never reaches is infinite, not a large number.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ray_slm.evaluation import curves
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.curves import TOO_FEW, Form
from ray_slm.evaluation.runs import Run, Samples, accuracy_runs, combine, enough, samples, spread

NOT_REACHED = "not reached"
EXTRAPOLATED = "extrapolated"
FAR = "far beyond what was trained"
FAR_TIMES = 10.0
_ORDER = ("", EXTRAPOLATED, FAR)
Compare = Callable[[Sequence[Run], Sequence[Run]], dict[str, object]]
_NAMES = ("factor", "baseline", "modality", "task")


def reach_table(
    pair_scores: pd.DataFrame, accuracy: float, *, form: Form = "log-linear"
) -> pd.DataFrame:
    """Tokens each modality needs for an accuracy in percent.

    Returns:
        modality, task, goal, tokens, low, high (95 %, from the spread of log10 tokens),
        interval, note ("extrapolated", "far beyond what was trained", "not
        reached" or "too few checkpoints").
    """
    rows = []
    for (modality, task), runs in accuracy_runs(pair_scores).items():
        figures = _reach(runs, accuracy / 100, form)
        rows.append({"modality": modality, "task": task, "goal": accuracy, **figures})
    columns = ["modality", "task", "goal", "tokens", "low", "high", "interval", "note"]
    return pd.DataFrame(rows, columns=columns)


def gap_table(
    pair_scores: pd.DataFrame,
    contrasts: Sequence[Contrast],
    accuracy: float,
    *,
    form: Form = "log-linear",
) -> pd.DataFrame:
    """How many times more tokens a contrast's modality needs than its baseline.

    Returns:
        factor, baseline, modality, task, goal, times, low, high, interval, note.  ``times``
        is inf where only the baseline gets there, NaN where the baseline does not.
    """

    def compare(baseline: Sequence[Run], modality: Sequence[Run]) -> dict[str, object]:
        return _times(baseline, modality, accuracy / 100, form)

    rows = _by_contrast(pair_scores, contrasts, form, compare, {"goal": accuracy})
    columns = ["goal", "times", "low", "high", "interval", "note"]
    return pd.DataFrame(rows, columns=[*_NAMES, *columns])


def _times(
    baseline: Sequence[Run], modality: Sequence[Run], accuracy: float, form: Form
) -> dict[str, object]:
    """The row of ``gap_table``; accuracy is a fraction."""
    found = [_log_tokens(runs, accuracy, form) for runs in (modality, baseline)]
    ours, theirs = found[0].estimate, found[1].estimate
    if not np.isfinite(theirs):
        return _empty("times", np.nan, f"{NOT_REACHED} by the baseline")
    if not np.isfinite(ours):
        return _empty("times", np.inf, NOT_REACHED)
    note = max((_beyond(modality, ours), _beyond(baseline, theirs)), key=_ORDER.index)
    if not all(np.isfinite(samples.values).all() for samples in found):
        return _empty(
            "times",
            float(10 ** (ours - theirs)),
            _joined(f"{NOT_REACHED} in some replicates: no interval", note),
        )
    gap = combine(found[0], found[1], ours - theirs, (1.0, -1.0))
    figures = (_power(x) for x in gap[:3])
    times, low, high = figures
    return {"times": times, "low": low, "high": high, "interval": gap.interval, "note": note}


def slope_ratio_table(
    pair_scores: pd.DataFrame, contrasts: Sequence[Contrast], *, form: Form = "log-linear"
) -> pd.DataFrame:
    """Slope of a contrast's modality divided by its baseline's (delta method).

    Returns:
        factor, baseline, modality, task, form, ratio, low, high, interval, note.  The ratio is
        NaN where the baseline's own slope cannot be told from 0.
    """

    def compare(baseline: Sequence[Run], modality: Sequence[Run]) -> dict[str, object]:
        ours, theirs = (
            samples(runs, form, lambda p: curves.slope(form, p), rising=True)
            for runs in (modality, baseline)
        )
        whole = spread(theirs)
        if whole.low <= 0 <= whole.high:
            return _empty("ratio", np.nan, "n/a: the baseline's slope may be 0")
        ratio = ours.estimate / theirs.estimate
        gradient = (1 / theirs.estimate, -ratio / theirs.estimate)
        found = combine(ours, theirs, ratio, gradient)
        figures = {"ratio": ratio, "low": found.low, "high": found.high}
        return {**figures, "interval": found.interval, "note": ""}

    rows = _by_contrast(pair_scores, contrasts, form, compare, {"form": form})
    columns = ["form", "ratio", "low", "high", "interval", "note"]
    return pd.DataFrame(rows, columns=[*_NAMES, *columns])


def _log_tokens(runs: Sequence[Run], accuracy: float, form: Form) -> Samples:
    """log10 of the tokens to reach an accuracy (fraction), at least one token."""

    def figure(params_RK: np.ndarray) -> np.ndarray:
        reached_R = curves.tokens_to_reach(form, params_RK, accuracy, rising=True)
        return np.asarray(np.log10(np.maximum(reached_R, 1.0)))

    return samples(runs, form, figure, rising=True)


def _reach(runs: Sequence[Run], accuracy: float, form: Form) -> dict[str, object]:
    if not enough(runs, form):
        return _empty("tokens", np.nan, TOO_FEW)
    found = _log_tokens(runs, accuracy, form)
    if not np.isfinite(found.estimate):
        return _empty("tokens", np.inf, NOT_REACHED)
    tokens, low, high, interval = spread(found)
    figures = {"tokens": _power(tokens), "low": _power(low), "high": _power(high)}
    return {**figures, "interval": interval, "note": _beyond(runs, tokens)}


def _beyond(runs: Sequence[Run], log_tokens: float) -> str:
    """How far a number of tokens lies outside what every run was evaluated at."""
    lowest = max(run.tokens_N[0] for run in runs)
    highest = min(run.tokens_N[-1] for run in runs)
    tokens = _power(log_tokens)
    if lowest <= tokens <= highest:
        return ""
    near = lowest / FAR_TIMES <= tokens <= FAR_TIMES * highest
    return EXTRAPOLATED if near else FAR


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _power(log_tokens: float) -> float:
    return float(10.0**log_tokens) if log_tokens < 300 else np.inf


def _empty(name: str, figure: float, note: str) -> dict[str, object]:
    return {name: figure, "low": np.nan, "high": np.nan, "interval": "", "note": note}


def _by_contrast(
    pair_scores: pd.DataFrame,
    contrasts: Sequence[Contrast],
    form: Form,
    compare: Compare,
    constants: dict[str, object],
) -> list[dict[str, object]]:
    """A row per contrast and task that both modalities were evaluated on."""
    found, rows = accuracy_runs(pair_scores), []
    for contrast in contrasts:
        for task in sorted({task for _, task in found}):
            sides = [found.get((name, task)) for name in (contrast.baseline, contrast.modality)]
            if sides[0] is None or sides[1] is None:
                continue
            names = {"factor": contrast.factor, "baseline": contrast.baseline}
            names |= {"modality": contrast.modality, "task": task}
            short = not all(enough(runs, form) for runs in (sides[0], sides[1]))
            figures = {"note": TOO_FEW} if short else compare(sides[0], sides[1])
            rows.append({**names, **constants, **figures})
    return rows
