"""The figures of the report as values: what is drawn, from which rows, and in which words.

Lines are means over seeds, beside which every seed is drawn faintly; a value that is missing
breaks the line.
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ray_slm.evaluation import curves
from ray_slm.report import chart, heard
from ray_slm.report.chart import Figure, Panel, Point, Series, linear_axis, log_axis, spread
from ray_slm.report.columns import modality_rank
from ray_slm.report.tables import Results, modalities_of, task_title, tasks_of

CHANCE = ("y", 50.0, "chance")
MAX_POINTS = 60  # drawn per line of a loss curve; the CSV holds all of them
NAN = float("nan")


def all_figures(results: Results) -> list[Figure]:
    """Every figure in the order of the page.  A figure without panels was not run."""
    tasks = tasks_of(results.layers)
    return [
        accuracy_by_tokens(results),
        accuracy_by_layer(results, "figure2", tasks[:1]),
        accuracy_by_layer(results, "figure3", tasks[1:]),
        factor_contrasts(results),
        losses(results),
        heard.figure(results),
    ]


def accuracy_by_tokens(results: Results) -> Figure:
    """Figure 1: accuracy against trained tokens, a panel per task, fits dashed."""
    frame, slot = results.scaling_points, chart.slots(modalities_of(results))
    panels = []
    for task in tasks_of(frame):
        series: list[Series] = []
        for modality, runs in _groups(frame[frame["task"] == task]):
            series += _lines(modality, slot[modality], runs, "tokens")
            fits = results.scaling_fits
            found = fits[(fits["task"] == task) & (fits["modality"] == modality)]
            series += _fit(modality, slot[modality], found, runs)
        x = log_axis("training tokens", frame[frame["task"] == task]["tokens"])
        panels.append(_accuracy_panel(task_title(results, task), x, series))
    return Figure(
        "figure1",
        "Accuracy against training tokens",
        "Lines are means over seeds; a band is the 95 % item-noise interval of one run, averaged "
        "over seeds; thin lines are single seeds; 0 is the untrained model. Dashed: the curve "
        "that best foretells the largest budget (see the table of fits), through the mean. "
        "Modalities see equal hours of audio, not equal tokens.",
        tuple(panels),
        frame,
    )


def accuracy_by_layer(results: Results, name: str, tasks: list[str]) -> Figure:
    """Figures 2 and 3: accuracy read off each layer through the final norm and the head."""
    whole, titles = results.layers, [task_title(results, task) for task in tasks]
    frame, slot = whole[whole["task"].isin(tasks)], chart.slots(modalities_of(results))
    panels = []
    for task in tasks:
        of_task = frame[frame["task"] == task]
        series: list[Series] = []
        for modality, layers in _groups(of_task):
            series += _lines(modality, slot[modality], layers, "layer")
        low, high = int(of_task["layer"].min()), int(of_task["layer"].max())
        step = max(1, math.ceil((high - low) / 11))
        ticks = tuple((float(v), str(v)) for v in range(low, high + 1, step))
        pad = 0.04 * max(high - low, 1)
        x = chart.Axis("layer (0 is the embedding)", low - pad, high + pad, ticks)
        panels.append(_accuracy_panel(task_title(results, task), x, series))
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
        for modality, runs in _groups(frame):
            values = runs.rename(columns={column: "accuracy"})[["seed", "tokens", "accuracy"]]
            values = values.assign(low=NAN, high=NAN)
            series += _lines(modality, slot[modality], values, "tokens", loss=True)
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


def _groups(frame: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Rows by modality, in the paper's order."""
    for modality in sorted(frame["modality"].unique(), key=modality_rank):
        yield str(modality), frame[frame["modality"] == modality]


def _lines(
    name: str, slot: int, frame: pd.DataFrame, x: str, *, loss: bool = False
) -> list[Series]:
    """The mean over seeds, and each seed where there are several."""
    mean = frame.groupby(x, sort=True)[["accuracy", "low", "high"]].mean()
    seeds = frame["seed"].nunique() if "seed" in frame.columns else 1
    points = []
    for at, value, low, high in _thin(mean).itertuples(name=None):
        place = f"layer {at}" if x == "layer" else f"{chart.short(float(at))} tokens"
        percent, digits = ("", 2) if loss else (" %", 1)
        figures = spread(value, low, high, digits)
        of_seeds = f", mean of {seeds} seeds" if seeds > 1 else ""
        words = f"{name}, {place}: {figures}{percent}{of_seeds}"
        points.append(Point(float(at), value, low, high, words))
    series = [Series(name, slot, "mean", tuple(points))]
    if seeds > 1:
        for _, run in frame.groupby("seed", sort=True):
            by_x = _thin(run.set_index(x).sort_index())
            series.append(Series(name, slot, "seed", _bare(by_x.index, by_x["accuracy"])))
    return series


def _thin(frame: pd.DataFrame) -> pd.DataFrame:
    """At most MAX_POINTS rows, evenly spaced on the log axis, with both ends kept."""
    if len(frame) <= MAX_POINTS:
        return frame
    picks = np.unique(np.geomspace(1, len(frame), MAX_POINTS).round().astype(int)) - 1
    return frame.iloc[picks]


def _fit(name: str, slot: int, fits: pd.DataFrame, runs: pd.DataFrame) -> list[Series]:
    """The best form's curve through the mean over seeds; none where nothing could be fitted."""
    usable = fits[fits["form"].isin(curves.FORMS)].dropna(subset=["slope"])
    mean = runs[runs["tokens"] > 0].groupby("tokens", sort=True)["accuracy"].mean().dropna() / 100
    inside = bool(((mean > 0) & (mean < 1)).all())
    if usable.empty or len(mean) < curves.MIN_CHECKPOINTS or not inside:
        return []
    form = usable.sort_values("heldout_error", kind="stable", na_position="last")["form"].iloc[0]
    tokens = mean.index.to_numpy(dtype=np.float64)
    parameters = curves.fit(form, tokens, mean.to_numpy(), rising=True)
    grid = np.geomspace(tokens[0], tokens[-1], 25)
    shares = curves.predict(form, parameters, grid, rising=True)[0]
    return [Series(name, slot, "fit", _bare(grid, 100 * shares))]


def _bare(xs: Iterable[float], ys: Iterable[float]) -> tuple[Point, ...]:
    """Points without intervals or words."""
    return tuple(Point(float(x), float(y), NAN, NAN, "") for x, y in zip(xs, ys, strict=True))


def _accuracy_panel(title: str, x: chart.Axis, series: list[Series]) -> Panel:
    drawn = [p for s in series for p in s.points]
    values = [v for p in drawn for v in (p.y, p.low, p.high) if math.isfinite(v)]
    return Panel(title, x, linear_axis("accuracy, %", [*values, 50.0]), tuple(series), CHANCE)
