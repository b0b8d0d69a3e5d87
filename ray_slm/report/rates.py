"""The table of a study's learning-rate sweeps: is a gap between modalities one rate's artifact?

A sweep is no stage of the study, so a page that has seen none says nothing of it.
"""

from ray_slm.report.cells import Cell, Group, Row, Table, headings, number
from ray_slm.report.tables import Results, modalities_of

LOSS_DIGITS = 4


def swept(results: Results) -> Table:
    """Held-out loss of every trial, a group per modality: only within one do losses compare."""
    frame, groups = results.sweep.sort_values("peak_lr"), []
    for modality in modalities_of(results):
        own = frame[frame["modality"] == modality].to_dict(orient="records")
        if own:
            groups.append(Group(modality, tuple(_row(trial) for trial in own)))
    caption = (
        "Peak learning rates on trial, each with a budget of its own; the worse ones were stopped "
        "early (ASHA). Bold: the modality's best rate."
    )
    names = headings("Tokens", "Of", "Nats/token", "Above the best", "Bits/s", "Note")
    return Table("sweep", caption, "Peak rate", names, tuple(groups), "sweep")


def _row(trial: dict) -> Row:
    best = "clear" if trial["excess"] == 0 else ""
    cells = (
        number(trial["tokens"]),
        number(trial["of_tokens"]),
        number(trial["nats_per_token"], LOSS_DIGITS, "n/a")._replace(kind=best),
        number(trial["excess"], LOSS_DIGITS, "n/a"),
        number(trial["bits_per_second"], 2, "n/a"),
        Cell(trial["note"], kind="note"),
    )
    return Row(f"{trial['peak_lr']:g}", cells)
