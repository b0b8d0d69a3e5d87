"""The tables of the page, each from the frames it shows and with a caption that explains it.

A modality or task that any part of the study names has its row or column everywhere, so that a
cell which was not run is seen.
"""

import math
from typing import Any

import pandas as pd

from ray_slm.evaluation import budgets
from ray_slm.report.cells import (
    Cell,
    Group,
    Row,
    Table,
    accuracy,
    counts,
    finite,
    grid,
    headings,
    holes,
    number,
    one_group,
    p_value,
    text,
    with_interval,
)
from ray_slm.report.tables import Results, modalities_of, task_title, tasks_of

MAX_ROWS = 200  # of the quarantine on the page; the CSV holds all of them
DAGGER = "\N{DOUBLE DAGGER}"
ARROW = "\N{RIGHTWARDS ARROW}"


def corpus(results: Results, frame: pd.DataFrame) -> Table:
    """Table 2: vocabulary, tokens and rates; ``frame`` is ``tables.table2``."""
    names = ("Vocabulary", "Tokens", "Tokens/s", "Hours", "Utterances", "Left out")
    found = {row["modality"]: row for row in frame.to_dict(orient="records")}
    rows = []
    for modality in modalities_of(results) if found else ():
        row = found.get(modality)
        if row is None:
            rows.append(Row(modality, holes(len(names))))
            continue
        total = float(row["num_utterances"]) + float(row["num_quarantined"])
        share = 100 * float(row["num_quarantined"]) / total if total else math.nan
        left_out = Cell(f"{number(row['num_quarantined']).text} ({number(share, 2, 'n/a').text} %)")
        sizes = (number(row["vocab_size"]), number(row["num_tokens"]))
        rates = (number(row["tokens_per_second"], 2), number(row["hours"], 2))
        rows.append(Row(modality, (*sizes, *rates, number(row["num_utterances"]), left_out)))
    caption = "Table 2. The training split as each modality reads it."
    return Table("table2", caption, "Modality", headings(*names), one_group(rows), "table2")


def other_splits(results: Results) -> Table:
    """Tokens of the splits that are not trained on."""
    frame = results.tokens[results.tokens["split"] != "train"]
    groups = []
    for split, part in frame.groupby("split", sort=True):
        columns = ("num_tokens", "num_utterances", "num_quarantined")
        rows = [
            Row(r["modality"], (*(number(r[c]) for c in columns), number(r["seconds"] / 3600, 2)))
            for r in part.to_dict(orient="records")
        ]
        groups.append(Group(str(split), tuple(rows)))
    names = headings("Tokens", "Utterances", "Left out", "Hours")
    return Table("splits", "The other splits.", "Modality", names, tuple(groups), "tokens")


def accuracies(results: Results) -> Table:
    """Table 4: accuracies under the default convention, a column per task."""
    frame = results.table4[results.table4["default"].astype(bool)]
    tasks = tasks_of(results.table4)
    rows = grid(frame, modalities_of(results), ("task", tasks), accuracy) if tasks else ()
    columns = [Cell(task_title(results, t), counts(frame[frame["task"] == t])) for t in tasks]
    caption = (
        "Table 4. Accuracy in percent at the last checkpoint, with 95 % intervals. Chance is "
        "50; a dagger marks an interval that includes it."
    )
    return Table("table4", caption, "Modality", tuple(columns), one_group(rows), "table4")


def contrasts(results: Results) -> Table:
    """Table 3: factor contrasts on three scales, a group per contrast."""
    keys, groups = ["factor", "baseline", "modality"], []
    for (factor, baseline, modality), frame in results.table3.groupby(keys, sort=False):
        rows = [
            Row(task_title(results, row["task"]), _contrast(row))
            for row in frame.to_dict(orient="records")
        ]
        groups.append(Group(f"{factor}: {baseline} {ARROW} {modality}", tuple(rows)))
    caption = (
        "Table 3. What each factor changes: paired differences, modality minus baseline, with "
        "95 % intervals. Bold: the interval excludes zero, before correction for many tests."
    )
    within = "Equal within \N{PLUS-MINUS SIGN}1 point"
    names = headings("Points", "Log-odds", "Skill lost, %", "p (Holm)", within, "Note")
    return Table("table3", caption, "Task", names, tuple(groups), "table3")


def _contrast(row: dict[str, Any]) -> tuple[Cell, ...]:
    note = Cell(text(row["note"]), kind="note")
    if not finite(row["points"]):
        return (*holes(5), note)
    return (
        with_interval(row["points"], row["low"], row["high"], 1),
        with_interval(row["logit"], row.get("logit_low"), row.get("logit_high"), 2),
        with_interval(row["skill_lost"], row.get("skill_low"), row.get("skill_high"), 0),
        p_value(row["p_holm"]),
        _equivalence(row),
        note,
    )


def _equivalence(row: dict[str, Any]) -> Cell:
    """The verdict of the two one-sided tests; "no" where the interval lies beyond the margin."""
    ends = [row["low"], row["high"]]
    if all(finite(end) for end in ends) and (min(ends) > 1 or max(ends) < -1):
        return Cell("no", kind="quiet")
    return Cell({"equivalent": "yes"}.get(row["tost"], text(row["tost"]) or "n/a"), kind="quiet")


def views(results: Results) -> Table:
    """Every contrast with other things held equal than audio."""
    groups = []
    for names, frame in results.views.groupby(["factor", "baseline", "modality"], sort=False):
        factor, baseline, modality = names
        found = {(row["task"], row["view"]): row for row in frame.to_dict(orient="records")}
        rows = [
            Row(
                task_title(results, t),
                tuple(_points(found.get((t, view))) for view in budgets.VIEWS),
            )
            for t in tasks_of(frame)
        ]
        groups.append(Group(f"{factor}: {baseline} {ARROW} {modality}", tuple(rows)))
    caption = (
        "The contrasts of Table 3 in points, each run at its largest checkpoint within the budget "
        "that both modalities reached. At equal audio this is Table 3; the other two are "
        "exploratory. Bold: the interval excludes zero. A double dagger: one side has no "
        "checkpoint within a tenth of that budget; n/a: none that small."
    )
    heads = headings(*(view[0].upper() + view[1:] for view in budgets.VIEWS))
    return Table("views", caption, "Task", heads, tuple(groups), "views")


def _points(row: dict[str, Any] | None) -> Cell:
    if row is None or not finite(row["points"]):
        return Cell("n/a", kind="quiet")
    shown = with_interval(row["points"], row["low"], row["high"], 1)
    return shown._replace(text=shown.text + DAGGER) if budgets.UNEQUAL in row["note"] else shown


def half_skill(results: Results) -> Table:
    """The first layer that reaches half the final skill, a column per task."""
    frame, tasks = results.half_skill, tasks_of(results.half_skill)
    rows = grid(frame, modalities_of(results), ("task", tasks), _layer) if tasks else ()
    last = int(results.layers["layer"].max()) if len(results.layers) else 0
    caption = (
        "The first layer whose accuracy is at least halfway between 50 % and that of the last "
        f"layer, of {last} layers; 0 is the embedding. n/a: the last layer cannot be told from "
        "chance. Exploratory."
    )
    columns = headings(*(task_title(results, t) for t in tasks))
    groups = (Group("", rows),) if rows else ()
    return Table("half-skill", caption, "Modality", columns, groups, "half_skill")


def _layer(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return holes(1)[0]
    if not finite(row["layer"]):
        return Cell("n/a", kind="quiet")
    return Cell(f"{row['layer']:.0f}", f"{row['half']:.1f} of {row['final']:.1f} %")


def quarantine_counts(results: Results) -> Table:
    """How many items each stage left out, by reason."""
    sizes = results.quarantine.groupby(["stage", "reason"], sort=True).size()
    groups = [
        Group(str(stage), tuple(Row(str(reason), (number(n),)) for (_, reason), n in part.items()))
        for stage, part in sizes.groupby(level=0, sort=True)
    ]
    caption = "Items left out, by stage and reason."
    return Table("quarantine", caption, "Reason", headings("Items"), tuple(groups), "quarantine")


def quarantine_items(results: Results) -> Table:
    """The first items left out, one by one."""
    names, rows = ("id", "stage", "reason", "detail"), []
    for row in results.quarantine.head(MAX_ROWS).to_dict(orient="records"):
        first, *others = (str(row[name]) for name in names)
        rows.append(Row(first, tuple(Cell(other, kind="note") for other in others)))
    total = len(results.quarantine)
    caption = f"The items left out: {min(total, MAX_ROWS):,} of {total:,}."
    columns = headings("Stage", "Reason", "Detail")
    return Table("left-out", caption, "Id", columns, one_group(rows), "quarantine")
