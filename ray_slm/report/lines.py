"""Lines of figures: the mean over seeds with its band, and every seed beside it."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ray_slm.report import chart
from ray_slm.report.chart import Panel, Point, Series, linear_axis, spread
from ray_slm.report.columns import modality_rank

CHANCE = ("y", 50.0, "chance")
MAX_POINTS = 60  # drawn per line of a loss curve; the CSV holds all of them
NAN = float("nan")
UNITS = {"tokens": "tokens", "hours": "h", "flops": "FLOPs"}


def groups(frame: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Rows by modality, in the paper's order."""
    for modality in sorted(frame["modality"].unique(), key=modality_rank):
        yield str(modality), frame[frame["modality"] == modality]


def lines(name: str, slot: int, frame: pd.DataFrame, x: str, *, loss: bool = False) -> list[Series]:
    """The mean over seeds, and each seed where there are several."""
    mean = frame.groupby(x, sort=True)[["accuracy", "low", "high"]].mean()
    seeds = frame["seed"].nunique() if "seed" in frame.columns else 1
    points = []
    for at, value, low, high in _thin(mean).itertuples(name=None):
        place = f"layer {at}" if x == "layer" else f"{chart.short(float(at))} {UNITS[x]}"
        percent, digits = ("", 2) if loss else (" %", 1)
        figures = spread(value, low, high, digits)
        of_seeds = f", mean of {seeds} seeds" if seeds > 1 else ""
        words = f"{name}, {place}: {figures}{percent}{of_seeds}"
        points.append(Point(float(at), value, low, high, words))
    series = [Series(name, slot, "mean", tuple(points))]
    if seeds > 1:
        for _, run in frame.groupby("seed", sort=True):
            by_x = _thin(run.set_index(x).sort_index())
            series.append(Series(name, slot, "seed", bare(by_x.index, by_x["accuracy"])))
    return series


def _thin(frame: pd.DataFrame) -> pd.DataFrame:
    """At most MAX_POINTS rows, evenly spaced on the log axis, with both ends kept."""
    if len(frame) <= MAX_POINTS:
        return frame
    picks = np.unique(np.geomspace(1, len(frame), MAX_POINTS).round().astype(int)) - 1
    return frame.iloc[picks]


def bare(xs: Iterable[float], ys: Iterable[float]) -> tuple[Point, ...]:
    """Points without intervals or words."""
    return tuple(Point(float(x), float(y), NAN, NAN, "") for x, y in zip(xs, ys, strict=True))


def accuracy_panel(title: str, x: chart.Axis, series: list[Series]) -> Panel:
    """A panel of accuracies, with chance on its axis; what is foretold may leave it."""
    drawn = [p for s in series if s.kind != "beyond" for p in s.points]
    values = [v for p in drawn for v in (p.y, p.low, p.high) if math.isfinite(v)]
    y = linear_axis("accuracy, %", [*values, 50.0])
    inside = [
        s._replace(points=tuple(p for p in s.points if y.low <= p.y <= y.high))
        if s.kind == "beyond"
        else s
        for s in series
    ]
    return Panel(title, x, y, tuple(inside), CHANCE)
