"""How accuracy and loss grow with training, and which curve foretells the largest budget best.

Fits are per seed.  Nothing is fitted below three trained checkpoints: the row says so instead.
Pass FLOPs in the column ``tokens`` for fits against compute.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ray_slm.evaluation import curves
from ray_slm.evaluation.curves import FORMS, TOO_FEW, Form
from ray_slm.evaluation.runs import (
    Run,
    accuracy_runs,
    enough,
    few_note,
    loss_runs,
    num_checkpoints,
    samples,
    spread,
)

UNITS: dict[Form, str] = {
    "linear": "points per 1e6 tokens",
    "log-linear": "points per decade of tokens",
    "logit-linear": "logits per decade of tokens",
    "power": "exponent of the error",
}
_FIGURES = ("low", "high", "unit", "interval", "heldout_error")
_COUNTS = ("num_checkpoints", "num_seeds", "note")


def scaling_table(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """Fits of accuracy against tokens: one row per modality, task and form of curve.

    Args:
        pair_scores: see ``ray_slm.evaluation.pair_scores``.

    Returns:
        modality, task, form, slope, low, high, unit, interval ("over S seeds" or "within-run"),
        heldout_error (points, at the largest budget, fitted without it, mean over seeds), best
        (bool: smallest such error), num_checkpoints, num_seeds, note.  Below three trained
        checkpoints the figures are NaN and the note says "too few checkpoints".
    """
    rows = [
        {"modality": modality, "task": task, **_accuracy_row(runs, form)}
        for (modality, task), runs in accuracy_runs(pair_scores).items()
        for form in FORMS
    ]
    columns = ["modality", "task", "form", "slope", *_FIGURES, *_COUNTS]
    return _with_best(pd.DataFrame(rows, columns=columns), ["modality", "task"])


def loss_table(losses: pd.DataFrame, *, value: str = "bits_per_second") -> pd.DataFrame:
    """Fits of validation loss L(D) = E + B * D^-beta, beside straight lines in D and log D.

    Args:
        losses: columns modality, seed, tokens and ``value``; lower is better.

    Returns:
        modality, form, slope (beta for the power law), low, high, unit, interval, heldout_error
        (unit of the loss), best, floor (E of the power law, mean over seeds), num_checkpoints,
        num_seeds, note; as ``scaling_table`` otherwise.
    """
    rows = [
        {"modality": modality, **_loss_row(runs, form, value)}
        for modality, runs in loss_runs(losses, value).items()
        for form in FORMS
        if form != "logit-linear"
    ]
    columns = ["modality", "form", "slope", *_FIGURES, "floor", *_COUNTS]
    return _with_best(pd.DataFrame(rows, columns=columns), ["modality"])


def _with_best(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mark the form with the smallest held-out error among those that share the keys."""
    least = table.groupby(keys)["heldout_error"].transform("min")
    table.insert(
        table.columns.get_loc("heldout_error") + 1, "best", table["heldout_error"] == least
    )
    return table


def _accuracy_row(runs: Sequence[Run], form: Form) -> dict[str, object]:
    scale = 100.0 if form in ("linear", "log-linear") else 1.0
    return {**_row(runs, form, scale, rising=True), "unit": UNITS[form]}


def _loss_row(runs: Sequence[Run], form: Form, value: str) -> dict[str, object]:
    units = {"linear": f"{value} per 1e6 tokens", "log-linear": f"{value} per decade of tokens"}
    row = _row(runs, form, 1.0, rising=False)
    floor = np.nan
    if form == "power" and enough(runs, form):
        floor = float(np.mean([curves.fit(form, *run, rising=False)[0, 0] for run in runs]))
    return {**row, "unit": units.get(form, "exponent of the loss"), "floor": floor}


def _row(runs: Sequence[Run], form: Form, scale: float, *, rising: bool) -> dict[str, object]:
    """Slope, interval and held-out error; errors of accuracies are in points."""
    counts = {"num_checkpoints": num_checkpoints(runs), "num_seeds": len(runs)}
    if not enough(runs, form):
        nothing = dict.fromkeys(("slope", "low", "high", "heldout_error"), np.nan)
        return {"form": form, **nothing, **counts, "interval": "", "note": TOO_FEW}
    slopes = samples(runs, form, lambda p: scale * curves.slope(form, p), rising=rising)
    errors = [curves.held_out_error(form, *run, rising=rising) for run in runs]
    rate, low, high, interval = spread(slopes)
    return {
        **{"form": form, "slope": rate, "low": low, "high": high, "interval": interval},
        "heldout_error": (100.0 if rising else 1.0) * float(np.mean(errors)),
        **counts,
        "note": few_note(runs),
    }
