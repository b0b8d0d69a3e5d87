"""The further tables of the page: controls, bands, and what scoring conventions change."""

from typing import Any

import pandas as pd

from ray_slm.report.cells import (
    NEGATIVE,
    Cell,
    Group,
    Row,
    Table,
    accuracy,
    control,
    counts,
    grid,
    headings,
    number,
    one_group,
)
from ray_slm.report.columns import band_rank, modality_rank
from ray_slm.report.tables import Results, modalities_of, task_title, tasks_of


def baselines(results: Results) -> Table:
    """What gets how far without a language model, a column per task."""
    frame = results.controls
    frame = frame[~frame["name"].astype(str).str.startswith(NEGATIVE)]
    tasks = tasks_of(results.controls)
    rows = []
    for name in dict.fromkeys(frame["name"]):
        part = frame[frame["name"] == name]
        for row in grid(part, _present(part), ("task", tasks), control):
            rows.append(row._replace(header=str(name)))
    caption = (
        "Baselines without a language model, accuracy in percent. An n-gram far above 50 means "
        "that the pairs are easy."
    )
    columns = headings(*(task_title(results, t) for t in tasks))
    return Table("baselines", caption, "Baseline", columns, one_group(rows), "controls")


def controls(results: Results) -> Table:
    """Negative controls, a column per task; single seeds have a row each."""
    frame = results.controls
    frame = frame[frame["name"].astype(str).str.startswith(NEGATIVE)]
    tasks = tasks_of(frame)
    groups = []
    for name in dict.fromkeys(frame["name"]):
        part = frame[frame["name"] == name]
        rows: list[Row] = []
        for modality in _present(part):
            own = part[part["modality"] == modality]
            seeds = sorted(own["seed"].dropna().unique()) if "seed" in own.columns else []
            if len(seeds) < 2:
                rows += grid(own, [modality], ("task", tasks), control)
                continue
            for seed in seeds:
                (row,) = grid(own[own["seed"] == seed], [modality], ("task", tasks), control)
                rows.append(row._replace(header=f"{row.header}, seed {seed:g}"))
        groups.append(Group(str(name), tuple(rows)))
    caption = (
        "Negative controls, accuracy in percent. Random weights and shuffled labels should give "
        "50; bold: the interval excludes it, as about one in twenty does by chance."
    )
    columns = headings(*(task_title(results, t) for t in tasks))
    return Table("controls", caption, "Modality", columns, tuple(groups), "controls")


def self_tests(results: Results) -> Table:
    """What the scorer makes of scores whose accuracy is known, a row per task."""
    rows = []
    for row in results.self_tests.to_dict(orient="records"):
        expected = (("oracle", 100.0), ("negated", 0.0), ("constant", 50.0))
        cells = [
            number(row[name], 1)._replace(kind="" if row[name] == right else "alarm")
            for name, right in expected
        ]
        same = bool(row["unchanged_by_shuffling"])
        last = Cell("unchanged" if same else "CHANGED", kind="" if same else "alarm")
        rows.append(Row(task_title(results, str(row["task"])), (*cells, last)))
    caption = (
        "The scorer on the very items of this study, accuracy in percent: scores that know the "
        "answer must give 100, inverted ones 0, equal ones 50, under every convention; and the "
        "order of rows must not matter. Bold: it failed."
    )
    names = headings("Oracle", "Negated oracle", "Constant", "Rows shuffled")
    return Table("self-tests", caption, "Task", names, one_group(rows), "self_tests")


def bands(results: Results) -> Table:
    """Accuracy by frequency band of the word, a group per task that has bands."""
    frame = results.bands
    names = sorted({str(name) for name in frame["band"]}, key=band_rank)
    if "task" in frame.columns:
        parts = [(task_title(results, t), frame[frame["task"] == t]) for t in tasks_of(frame)]
    else:
        parts = [("", frame)] if names else []
    groups = [Group(t, grid(f, _present(f), ("band", names), accuracy)) for t, f in parts]
    groups = [Group("", groups[0].rows)] if len(groups) == 1 else groups
    columns = [Cell(name, counts(frame[frame["band"] == name])) for name in names]
    caption = "Accuracy in percent by how frequent the word is, rarest first."
    return Table("bands", caption, "Modality", tuple(columns), tuple(groups), "bands")


def flips(results: Results) -> Table:
    """Decisions that differ from those of the default convention."""
    frame = results.flips
    names = list(dict.fromkeys(frame["convention"]))
    groups = []
    for task in tasks_of(frame):
        part = frame[frame["task"] == task]
        rows = grid(part, _present(part), ("convention", names), _flipped)
        groups.append(Group(task_title(results, task), rows))
    caption = "Decisions, in percent, that another convention turns around."
    return Table("flips", caption, "Modality", headings(*names), tuple(groups), "flips")


def _flipped(row: dict[str, Any] | None) -> Cell:
    return number(None if row is None else row["flipped"], 1)


def conventions(results: Results) -> Table:
    """Accuracies under every scoring convention."""
    frame, tasks = results.table4, tasks_of(results.table4)
    groups = []
    default = set(frame[frame["default"].astype(bool)]["convention"])
    for convention in sorted(frame["convention"].unique(), key=lambda c: (c not in default, c)):
        part = frame[frame["convention"] == convention]
        label = f"{convention} (default)" if convention in default else str(convention)
        groups.append(Group(label, grid(part, modalities_of(results), ("task", tasks), accuracy)))
    caption = "Accuracy in percent under every scoring convention."
    columns = headings(*(task_title(results, t) for t in tasks))
    return Table("conventions", caption, "Modality", columns, tuple(groups), "table4")


def _present(frame: pd.DataFrame) -> list[str]:
    return sorted((str(m) for m in frame["modality"].unique()), key=modality_rank)
