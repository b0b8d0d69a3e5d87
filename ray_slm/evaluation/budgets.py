"""Growth against other budgets than tokens: hours of audio, and FLOPs.

Modalities spend different numbers of tokens on an hour of audio, and of FLOPs on a token, so which
of them learns faster depends on what is held equal.  All three views are made of the same runs.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ray_slm.evaluation import curves
from ray_slm.evaluation.contrasts import Contrast, table3
from ray_slm.evaluation.curves import Form
from ray_slm.evaluation.pair_scores import check, last_checkpoint
from ray_slm.evaluation.runs import accuracy_runs, enough

View = Literal["equal audio", "equal tokens", "equal FLOPs"]
VIEWS: tuple[View, ...] = ("equal audio", "equal tokens", "equal FLOPs")
REACH = 10.0  # how far beyond the largest budget curves are drawn


def on_axis(pair_scores: pd.DataFrame, per_token: Mapping[str, float]) -> pd.DataFrame:
    """The frame with ``tokens`` replaced by hours or FLOPs: what every fit then is against.

    ``per_token`` gives each modality's hours or FLOPs of one token.  Raises ValueError naming
    modalities that it lacks.
    """
    lacking = sorted(set(pair_scores["modality"]) - per_token.keys())
    if lacking:
        raise ValueError(f"nothing says how much of this budget a token of {lacking} costs")
    factor = pair_scores["modality"].map(dict(per_token)).astype(float)
    return pair_scores.assign(tokens=pair_scores["tokens"] * factor)


def at_equal_budget(pair_scores: pd.DataFrame, per_token: Mapping[str, float]) -> pd.DataFrame:
    """Each run at its largest checkpoint within the budget that all runs reached.

    A checkpoint may exceed it by a thousandth: rates are averages.  Runs with no checkpoint that
    small contribute nothing.  ``tokens`` stay tokens.
    """
    check(pair_scores)
    spent = on_axis(pair_scores, per_token)["tokens"]
    runs = [pair_scores["modality"], pair_scores["seed"]]
    budget = spent.groupby(runs, observed=True).max().min()
    return last_checkpoint(pair_scores[spent <= 1.001 * budget])


def view_table(
    pair_scores: pd.DataFrame,
    contrasts: Sequence[Contrast],
    hours_per_token: Mapping[str, float],
    flops_per_token: Mapping[str, float],
) -> pd.DataFrame:
    """Every contrast at equal audio, at equal tokens and at equal FLOPs.

    Returns:
        view, then the columns of ``contrasts.table3`` (Holm's correction is that of the equal-audio
        view, the one fixed beforehand; p_holm is NaN in the others, which are exploratory).
    """
    ones = dict.fromkeys(pair_scores["modality"].unique(), 1.0)
    rates = dict(zip(VIEWS, (hours_per_token, ones, flops_per_token), strict=True))
    frames = []
    for view, per_token in rates.items():
        frame = table3(at_equal_budget(pair_scores, per_token), tuple(contrasts))
        if view != VIEWS[0]:
            frame["p_holm"] = np.nan
        frame.insert(0, "view", view)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def seed_slopes(pair_scores: pd.DataFrame, *, form: Form = "linear") -> pd.DataFrame:
    """The slope of every single run.

    Returns: modality, task, run (number in order of seeds), form, slope (as ``scaling_table``),
    num_checkpoints.  Runs with too few checkpoints are left out.
    """
    scale = 100.0 if form in ("linear", "log-linear") else 1.0
    rows = []
    for (modality, task), runs in accuracy_runs(pair_scores).items():
        for number, run in enumerate(runs):
            if enough([run], form):
                params_1K = curves.fit(form, *run, rising=True)
                rate = scale * float(curves.slope(form, params_1K)[0])
                rows.append((modality, task, number, form, rate, len(run.tokens_N)))
    columns = ["modality", "task", "run", "form", "slope", "num_checkpoints"]
    return pd.DataFrame(rows, columns=columns)


def curve_table(
    pair_scores: pd.DataFrame, *, form: Form = "log-linear", num_points: int = 25
) -> pd.DataFrame:
    """The fitted curves, averaged over runs, up to ten times the largest budget.

    Returns: modality, task, form, tokens, accuracy (percent), extrapolated (bool: beyond what any
    run was evaluated at; to be drawn dashed).
    """
    frames = []
    for (modality, task), runs in accuracy_runs(pair_scores).items():
        if not enough(runs, form):
            continue
        lowest = min(run.tokens_N[0] for run in runs)
        highest = max(run.tokens_N[-1] for run in runs)
        inside_N = np.geomspace(lowest, highest, num_points)
        tokens_N = np.concatenate(
            [inside_N, np.geomspace(highest, REACH * highest, num_points)[1:]]
        )
        params_RK = np.concatenate([curves.fit(form, *run, rising=True) for run in runs])
        accuracy_N = 100 * curves.predict(form, params_RK, tokens_N, rising=True).mean(0)
        frame = pd.DataFrame({"tokens": tokens_N, "accuracy": np.clip(accuracy_N, 0, 100)})
        frame["extrapolated"] = frame["tokens"] > highest
        frames.append(frame.assign(modality=modality, task=task, form=form))
    columns = ["modality", "task", "form", "tokens", "accuracy", "extrapolated"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)
