"""Tables about growth with training: fits, slopes of runs, and what an accuracy costs."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ray_slm.evaluation.gaps import EXTRAPOLATED, FAR, NOT_REACHED
from ray_slm.report.cells import (
    Cell,
    Group,
    Row,
    Table,
    finite,
    grid,
    headings,
    holes,
    number,
    one_group,
    text,
)
from ray_slm.report.chart import minus, short, spread
from ray_slm.report.columns import modality_rank
from ray_slm.report.printed import ARROW, DAGGER
from ray_slm.report.tables import Results, task_title, tasks_of

CONTRAST = ["factor", "baseline", "modality"]
FORMS = {
    "linear": ("Straight line", "points per 1e6 tokens"),
    "log-linear": ("Line in log tokens", "points per decade"),
    "logit-linear": ("Line in log-odds", "logits per decade"),
    "power": ("Saturating power", "exponent of the error"),
}
LOSS_FORMS = {
    "linear": ("Straight line", "bits/s per 1e6 tokens"),
    "log-linear": ("Line in log tokens", "bits/s per decade"),
    "power": ("Power law", "exponent of the loss"),
}


def fits(results: Results) -> Table:
    """Curves fitted to accuracy against tokens: a column per form, the least error bold."""
    frame, groups = results.scaling_fits, []
    forms = [form for form in FORMS if form in set(frame["form"])]
    for task in tasks_of(frame):
        part = frame[frame["task"] == task]
        rows = tuple(_fitted(m, part[part["modality"] == m], forms, 2) for m in _present(part))
        groups.append(Group(task_title(results, task), rows))
    caption = (
        "Fits of accuracy against tokens, compared by error. Large: error in points at the "
        "largest budget, held out of the fit; bold where it is the least. Small: slope with its "
        "95 % interval, in the unit of the column."
    )
    columns = (*(Cell(*FORMS[form]) for form in forms), Cell("Intervals"))
    return Table("fits", caption, "Modality", columns, tuple(groups), "scaling_fits")


def loss_fits(results: Results) -> Table:
    """Curves fitted to validation loss, as ``fits``, and the floor of the power law."""
    frame = results.loss_fits
    forms = [form for form in LOSS_FORMS if form in set(frame["form"])]
    rows = []
    for modality in _present(frame):
        own = frame[frame["modality"] == modality]
        floor = own.loc[own["form"] == "power", "floor"]
        row = _fitted(modality, own, forms, 2)
        shown = number(floor.iloc[0] if len(floor) else None, 1, "n/a")
        rows.append(row._replace(cells=(*row.cells[:-1], shown, row.cells[-1])))
    caption = (
        "Fits of validation loss in bits per second of audio against tokens; the power law is "
        "L(D) = E + B D^-exponent. Large: error at the largest budget, held out of the fit; bold "
        "where it is the least. Small: slope with its 95 % interval, in the unit of the column."
    )
    columns = (*(Cell(*LOSS_FORMS[form]) for form in forms), Cell("Floor E"), Cell("Intervals"))
    return Table("loss-fits", caption, "Modality", columns, one_group(rows), "loss_fits")


def _fitted(modality: str, frame: pd.DataFrame, forms: Sequence[str], digits: int) -> Row:
    """A row of held-out errors over slopes, and what the intervals are over."""
    found = {row["form"]: row for row in frame.to_dict(orient="records")}
    least = frame["heldout_error"].min()
    cells, words = [], []
    for row in (found.get(form) for form in forms):
        if row is None or not finite(row["slope"]):
            cells.append(holes(1)[0] if row is None else Cell("n/a", kind="quiet"))
            words.append("" if row is None else text(row["note"]))
            continue
        slope = spread(float(row["slope"]), float(row["low"]), float(row["high"]), digits)
        best = "clear" if row["heldout_error"] == least else ""
        cells.append(Cell(number(row["heldout_error"], digits, "n/a").text, slope, best))
        words += [text(row.get("interval")), text(row["note"])]
    note = Cell("; ".join(w for w in dict.fromkeys(words) if w), kind="note")
    return Row(modality, (*cells, note))


def seed_slopes(results: Results) -> Table:
    """The slope of every run, a column per seed: per decade, and below it per million tokens."""
    frame = results.seed_slopes
    runs = sorted(frame["run"].unique())
    groups = []
    for task in tasks_of(frame):
        of_task = frame[frame["task"] == task]
        rows = []
        for modality in _present(of_task):
            own = of_task[of_task["modality"] == modality]
            by_form = {form: rows.set_index("run")["slope"] for form, rows in own.groupby("form")}
            rows.append(Row(modality, tuple(_slopes(by_form, run) for run in runs)))
        groups.append(Group(task_title(results, task), tuple(rows)))
    caption = (
        "Slopes of single runs, in points of accuracy: per decade of tokens, and below that per "
        "million tokens, as the paper's straight lines have it."
    )
    names = headings(*(f"Run {run + 1}" for run in runs))
    return Table("slopes", caption, "Modality", names, tuple(groups), "seed_slopes")


def _slopes(by_form: dict[str, pd.Series], run: int) -> Cell:
    found = [by_form[f].get(run) if f in by_form else None for f in ("log-linear", "linear")]
    if not all(finite(slope) for slope in found):
        return Cell("n/a", kind="quiet")
    decade, million = (minus(f"{slope:+.2f}") for slope in found)
    return Cell(decade, f"{million} /M")


def reach(results: Results) -> Table:
    """Tokens that each modality needs for an accuracy, a column per accuracy."""
    frame = results.reach
    goals = sorted(frame["goal"].unique())
    groups = []
    for task in tasks_of(frame):
        part = frame[frame["task"] == task]
        rows = grid(part, _present(part), ("goal", goals), _reached)
        groups.append(Group(task_title(results, task), rows))
    caption = (
        "Training tokens to reach an accuracy, by the curve in log tokens, with 95 % intervals. "
        f"{DAGGER}: extrapolated beyond what was trained; far: more than ten times beyond; never: "
        "the curve does not rise."
    )
    names = headings(*(f"{goal:g} %" for goal in goals))
    return Table("reach", caption, "Modality", names, tuple(groups), "reach")


def _reached(row: dict[str, Any] | None) -> Cell:
    if row is None or (row["note"] in ("", FAR) and not finite(row["tokens"])):
        return Cell("\N{EN DASH}", kind="quiet")
    if row["note"] == FAR or not finite(row["tokens"]):
        return Cell({FAR: "far", NOT_REACHED: "never"}.get(row["note"], "n/a"), kind="quiet")
    beyond = row["note"] == EXTRAPOLATED
    shown = _clipped(float(row["tokens"])) + (DAGGER if beyond else "")
    return Cell(
        shown, f"{_clipped(row['low'])} to {_clipped(row['high'])}", "quiet" if beyond else ""
    )


def growth(results: Results) -> Table:
    """What each factor does to the slope, and to the tokens that accuracies need."""
    goals = sorted(results.gaps["goal"].unique())
    found: dict[tuple[str, ...], dict[Any, Cell]] = {}
    for frame, column in ((results.slope_ratios, "ratio"), (results.gaps, "times")):
        for row in frame.to_dict(orient="records"):
            cells = found.setdefault(tuple(str(row[key]) for key in (*CONTRAST, "task")), {})
            cells[row["goal"] if column == "times" else column] = _ratio(row, column)
    groups: dict[str, list[Row]] = {}
    for (factor, baseline, modality, task), cells in found.items():
        shown = tuple(cells.get(n, Cell("n/a", kind="quiet")) for n in ("ratio", *goals))
        row = Row(task_title(results, task), shown)
        groups.setdefault(f"{factor}: {baseline} {ARROW} {modality}", []).append(row)
    caption = (
        "Growth with training, modality over baseline, with 95 % intervals: the ratio of slopes, "
        f"and how many times more tokens an accuracy takes. {DAGGER}: extrapolated; far: more "
        "than ten times beyond what was trained; never: only the baseline gets there; n/a: the "
        "baseline's slope may be 0, or it never gets there. The CSV of gaps has the same ratios in "
        "hours of audio and in FLOPs."
    )
    columns = headings("Slope, ratio", *(f"Tokens to {goal:g} %, ratio" for goal in goals))
    whole = tuple(Group(label, tuple(rows)) for label, rows in groups.items())
    return Table("growth", caption, "Task", columns, whole, "gaps")


def _ratio(row: dict[str, Any], column: str) -> Cell:
    if row[column] == math.inf:
        return Cell("never", kind="quiet")
    if not finite(row[column]) or FAR in row["note"]:
        return Cell("far" if FAR in row["note"] else "n/a", kind="quiet")
    beyond = EXTRAPOLATED in row["note"]
    ends = [_clipped(float(row[end])) if finite(row[end]) else "" for end in ("low", "high")]
    between = " to ".join(ends) if all(ends) else "no interval"
    return Cell(
        _clipped(row[column]) + (DAGGER if beyond else ""), between, "quiet" if beyond else ""
    )


def _clipped(value: float) -> str:
    """A positive figure in few characters, also where a curve hardly rises."""
    if value < 0.01:
        return minus(f"{value:.2g}")
    return short(value) if value < 1e15 else "> 1e15"


def _present(frame: pd.DataFrame) -> list[str]:
    return sorted((str(m) for m in frame["modality"].unique()), key=modality_rank)
