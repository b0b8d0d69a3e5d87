"""The figures of the report as values: what is drawn, from which rows, and in which words.

Lines are means over seeds, beside which every seed is drawn faintly; a value that is missing
breaks the line.
"""

import math

import pandas as pd

from ray_slm.report import chart, heard
from ray_slm.report.chart import Figure, Panel, Point, Series, linear_axis, log_axis, spread
from ray_slm.report.growth_figures import BUDGETS, accuracy_by_budget
from ray_slm.report.lines import NAN, accuracy_panel, groups, lines
from ray_slm.report.tables import Results, modalities_of, task_title, tasks_of


def all_figures(results: Results) -> list[Figure]:
    """Every figure in the order of the page.  A figure without panels was not run."""
    tasks = tasks_of(results.layers)
    return [
        *(accuracy_by_budget(results, budget) for budget in BUDGETS),
        accuracy_by_layer(results, "figure2", tasks[:1]),
        accuracy_by_layer(results, "figure3", tasks[1:]),
        factor_contrasts(results),
        losses(results),
        heard.figure(results),
    ]


def accuracy_by_layer(results: Results, name: str, tasks: list[str]) -> Figure:
    """Figures 2 and 3: accuracy read off each layer through the final norm and the head."""
    whole, titles = results.layers, [task_title(results, task) for task in tasks]
    frame, slot = whole[whole["task"].isin(tasks)], chart.slots(modalities_of(results))
    panels = []
    for task in tasks:
        of_task = frame[frame["task"] == task]
        series: list[Series] = []
        for modality, layers in groups(of_task):
            series += lines(modality, slot[modality], layers, "layer")
        low, high = int(of_task["layer"].min()), int(of_task["layer"].max())
        step = max(1, math.ceil((high - low) / 11))
        ticks = tuple((float(v), str(v)) for v in range(low, high + 1, step))
        pad = 0.04 * max(high - low, 1)
        x = chart.Axis("layer (0 is the embedding)", low - pad, high + pad, ticks)
        panels.append(accuracy_panel(task_title(results, task), x, series))
    return Figure(
        name,
        ": ".join(["Accuracy by layer", *([", ".join(titles)] if titles else [])]),
        "Every hidden state is scored through the model's final norm and head, at the last "
        "checkpoint; the last layer is the model itself. Bands are 95 % intervals.",
        tuple(panels),
        frame,
    )


def losses(results: Results) -> Figure:
    """Figure 5: validation loss per second of audio and per token."""
    frame, slot = results.losses, chart.slots(modalities_of(results))
    panels = []
    if not frame.empty and (frame["split"] != "train").any():
        frame = frame[frame["split"] != "train"]
    for column, title in (
        ("bits_per_second", "Bits per second of audio"),
        ("nats_per_token", "Nats per token"),
    ):
        series: list[Series] = []
        for modality, runs in groups(frame):
            values = runs.rename(columns={column: "accuracy"})[["seed", "tokens", "accuracy"]]
            values = values.assign(low=NAN, high=NAN)
            series += lines(modality, slot[modality], values, "tokens", loss=True)
        ys = [p.y for s in series for p in s.points if math.isfinite(p.y)]
        if ys:
            y = log_axis("log scale", ys) if min(ys) > 0 else linear_axis("", ys)
            x = log_axis("training tokens", frame["tokens"])
            panels.append(Panel(title, x, y, tuple(series)))
    return Figure(
        "figure5",
        "Validation loss",
        "Only bits per second compares modalities: a token of each is a different stretch of "
        "audio. Lines are means over seeds, thin lines single seeds; 0 is the untrained model.",
        tuple(panels),
        results.losses,
    )


def factor_contrasts(results: Results) -> Figure:
    """Figure 4: every contrast on three scales, left being worse on each."""
    frame = results.table3.dropna(subset=["points"])
    keys = frame[["factor", "baseline", "modality"]]
    pairs = list(dict.fromkeys(keys.itertuples(index=False, name=None)))
    scales = (
        ("points", "low", "high", "Accuracy, points", False),
        ("logit", "logit_low", "logit_high", "Log-odds of accuracy", False),
        ("skill_lost", "skill_low", "skill_high", "Above-chance skill lost, %", True),
    )
    panels = []
    for column, low, high, title, flipped in scales if pairs else ():
        absent = [c for c in (low, high) if c not in frame.columns]
        shown = frame.assign(**dict.fromkeys(absent, NAN))
        series = []
        for i, task in enumerate(tasks_of(frame)):
            marks = _marks(shown, task, pairs, i, (column, low, high))
            series.append(Series(task_title(results, task), chart.INK + i, "range", marks))
        values = [v for s in series for p in s.points for v in (p.x, p.low, p.high)]
        x = linear_axis("left is worse", [*values, 0.0])._replace(flipped=flipped)
        y = chart.row_axis([_row_label(*pair) for pair in pairs])
        panels.append(Panel(title, x, y, tuple(series), ("x", 0.0, "no effect"), rows=True))
    return Figure(
        "figure4",
        "What each factor costs, on three scales",
        "Paired differences, modality minus baseline, with 95 % intervals. The scales weigh the "
        "same loss differently near chance; skill is missing where the baseline's interval "
        "includes 50 %. The last axis is reversed so that left is worse on all three.",
        tuple(panels),
        results.table3,
    )


def _row_label(factor: str, baseline: str, modality: str) -> str:
    """Three lines, as wide as the margin that both drawings leave for them."""
    step = f"{chart.clip(baseline, 29)}\n\N{RIGHTWARDS ARROW} {chart.clip(modality, 27)}"
    return f"{chart.clip(factor, 20)}\n{step}"


def _marks(
    frame: pd.DataFrame,
    task: str,
    pairs: list[tuple[str, str, str]],
    place: int,
    columns: tuple[str, str, str],
) -> tuple[Point, ...]:
    offset = 0.24 * (place - (frame["task"].nunique() - 1) / 2)
    points = []
    for row in frame[frame["task"] == task].to_dict(orient="records"):
        value, low, high = (float(row[c]) for c in columns)
        if math.isfinite(value):
            at = pairs.index((row["factor"], row["baseline"], row["modality"])) + offset
            words = f"{row['factor']}, {row['baseline']} to {row['modality']}, {task}: "
            digits = 2 if columns[0] == "logit" else 1
            points.append(Point(value, at, low, high, words + spread(value, low, high, digits)))
    return tuple(points)
