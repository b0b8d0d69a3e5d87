"""Figure 1: accuracy against what training spent, counted in tokens, hours of audio or FLOPs.

All three axes show the same runs; a modality's points move together, as a token of each costs
another stretch of audio and other computation.
"""

import pandas as pd

from ray_slm.report import chart
from ray_slm.report.chart import Figure, Series, log_axis
from ray_slm.report.lines import accuracy_panel, bare, groups, lines
from ray_slm.report.tables import Results, modalities_of, task_title, tasks_of

BUDGETS = ("tokens", "hours", "flops")
AXES = {"tokens": "training tokens", "hours": "hours of audio", "flops": "training FLOPs"}
TITLES = {
    "tokens": "Accuracy against training tokens",
    "hours": "Accuracy against hours of audio",
    "flops": "Accuracy against computation",
}
COUNTED = {
    "tokens": "Modalities see equal hours of audio, not equal tokens.",
    "hours": "Hours are tokens at the modality's nominal rate, which checkpoints follow.",
    "flops": "FLOPs are those of the forward and backward pass of a mean utterance.",
}


def accuracy_by_budget(results: Results, budget: str) -> Figure:
    """A panel per task, lines with seeds, fitted curves, what they foretell dashed."""
    points, found = _spent(results, results.scaling_points, budget), results.fit_curves
    drawn, slot = _spent(results, found, budget), chart.slots(modalities_of(results))
    panels = []
    for task in tasks_of(points):
        series: list[Series] = []
        own = points[points["task"] == task]
        for modality, runs in groups(own):
            series += lines(modality, slot[modality], runs, budget)
            line = drawn[(drawn["task"] == task) & (drawn["modality"] == modality)]
            series += _curve(modality, slot[modality], line, budget)
        x = log_axis(AXES[budget], [p.x for one in series for p in one.points])
        panels.append(accuracy_panel(task_title(results, task), x, series))
    return Figure(
        "figure1" if budget == "tokens" else f"figure1-{budget}",
        TITLES[budget],
        "Lines with marks are means over seeds; a band is the 95 % item-noise interval of one run, "
        "averaged over seeds; thin lines are single seeds; 0 is the untrained model. Smooth: the "
        "curve that best foretells the largest budget (see the table of fits), mean over seeds; "
        f"dashed beyond what was trained. {COUNTED[budget]}",
        tuple(panels),
        points,
    )


def _spent(results: Results, frame: pd.DataFrame, budget: str) -> pd.DataFrame:
    """The rows whose modality's cost is known, with a column for the budget."""
    if budget == "tokens" or frame.empty:
        return frame
    costs = results.budgets.set_index("modality")[f"{budget}_per_token"].astype(float)
    spent = frame["tokens"].astype(float) * frame["modality"].map(costs).astype(float)
    return frame.assign(**{budget: spent}).dropna(subset=[budget])


def _curve(name: str, slot: int, line: pd.DataFrame, budget: str) -> list[Series]:
    """The fitted curve: solid inside, and dashed from its last point on."""
    if line.empty:
        return []
    line = line.sort_values("tokens")
    beyond = line["extrapolated"].astype(bool)
    last = line[~beyond].tail(1)
    inside, foretold = line[~beyond], pd.concat([last, line[beyond]])
    return [
        Series(name, slot, "fit", bare(inside[budget], inside["accuracy"])),
        Series(name, slot, "beyond", bare(foretold[budget], foretold["accuracy"])),
    ]
