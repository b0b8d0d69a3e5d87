"""Growth against other budgets than tokens: hours of audio, and FLOPs.

Modalities spend different numbers of tokens on an hour of audio, and of FLOPs on a token, so which
of them learns faster depends on what is held equal.  All three views are made of the same runs.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ray_slm.evaluation import curves
from ray_slm.evaluation.comparison import compare_all
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.curves import Form
from ray_slm.evaluation.pair_scores import check, last_checkpoint
from ray_slm.evaluation.runs import accuracy_runs, enough
from ray_slm.evaluation.statistics import holm

View = Literal["equal audio", "equal tokens", "equal FLOPs"]
VIEWS: tuple[View, ...] = ("equal audio", "equal tokens", "equal FLOPs")
LEAST_SHARE = 0.9
UNEQUAL = "no checkpoint close to the budget"
REACH = 3.0  # times the largest budget: how far curves are drawn


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
    small contribute nothing.  ``tokens`` stay tokens, ``share`` is that of the budget.
    """
    check(pair_scores)
    spent = on_axis(pair_scores, per_token)["tokens"]
    runs = [pair_scores["modality"], pair_scores["seed"]]
    budget = spent.groupby(runs, observed=True).max().min()
    shares = pair_scores.assign(share=spent / budget)
    return last_checkpoint(shares[spent <= 1.001 * budget])


def view_table(
    pair_scores: pd.DataFrame,
    contrasts: Sequence[Contrast],
    hours_per_token: Mapping[str, float],
    flops_per_token: Mapping[str, float],
) -> pd.DataFrame:
    """Every contrast at equal audio, at equal tokens and at equal FLOPs.

    The budget is what both modalities of a contrast reached.

    Returns:
        view, then the columns of ``contrasts.table3``, not bootstrapped; the note says where a
        side's checkpoint is less than nine tenths of the budget.  Holm's correction is that of
        the equal-audio view, the one fixed beforehand; p_holm is NaN in the others, which are
        exploratory.
    """
    ones = dict.fromkeys(pair_scores["modality"].unique(), 1.0)
    rates = dict(zip(VIEWS, (hours_per_token, ones, flops_per_token), strict=True))
    frames = []
    for view, per_token in rates.items():
        rows = pd.concat([_at_budget(pair_scores, c, per_token) for c in contrasts])
        first = view == VIEWS[0]
        rows["p_holm"] = holm(rows["p"].to_numpy(dtype=np.float64)) if first else np.nan
        rows.insert(0, "view", view)
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def _at_budget(
    pair_scores: pd.DataFrame, contrast: Contrast, per_token: Mapping[str, float]
) -> pd.DataFrame:
    """The contrast's rows, one per task, at the budget that both sides reached."""
    sides = (contrast.baseline, contrast.modality)
    own = pair_scores[pair_scores["modality"].isin(sides)]
    if own.empty:
        return compare_all(pair_scores, [contrast], replicates=0)
    found = at_equal_budget(own, per_token)
    rows = compare_all(found, [contrast], replicates=0)
    if (found["share"] < LEAST_SHARE).any():
        rows["note"] = [f"{note}; {UNEQUAL}" if note else UNEQUAL for note in rows["note"]]
    return rows


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


def best_forms(fits: pd.DataFrame) -> dict[tuple[str, str], Form]:
    """By modality and task: the form with the least held-out error in ``scaling_table``.

    Where no error is known, the first form; lines that could not be fitted are left out.
    """
    usable = fits.dropna(subset=["slope"])
    usable = usable.sort_values("heldout_error", kind="stable", na_position="last")
    first = usable.groupby(["modality", "task"], observed=True)["form"].first()
    return {(str(modality), str(task)): form for (modality, task), form in first.items()}


def curve_table(
    pair_scores: pd.DataFrame,
    forms: Mapping[tuple[str, str], Form],
    *,
    num_points: int = 25,
) -> pd.DataFrame:
    """The fitted curves, averaged over runs, up to three times the largest budget.

    Args:
        pair_scores: see ``ray_slm.evaluation.pair_scores``.
        forms: the form of each line, as ``best_forms`` finds it; lines without one have no curve.
        num_points: points of each curve inside what was evaluated, and beyond it.

    Returns: modality, task, form, tokens, accuracy (percent), extrapolated (bool: beyond what any
    run was evaluated at; to be drawn dashed).
    """
    frames = []
    for (modality, task), runs in accuracy_runs(pair_scores).items():
        form = forms.get((modality, task))
        if form is None:
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
        frame["extrapolated"] = np.arange(len(tokens_N)) >= num_points
        frames.append(frame.assign(modality=modality, task=task, form=form))
    columns = ["modality", "task", "form", "tokens", "accuracy", "extrapolated"]
    return pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)
