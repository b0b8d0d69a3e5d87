"""A table as a reader sees it: cells with their text, and how figures become text.

Formatting is decided here and nowhere else; the template only lays cells out.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import pandas as pd

from ray_slm.report.chart import minus

HOLE = "not run"
NEGATIVE = ("random", "shuffled")  # names of controls that should give 50 % begin so
NO_MODEL = ("", "none")  # the modality of a baseline that is no language model


class Cell(NamedTuple):
    """One cell: its text, a smaller second line, and a kind that the style sheet knows."""

    text: str
    detail: str = ""
    kind: str = ""


class Row(NamedTuple):
    """A row with its header."""

    header: str
    cells: tuple[Cell, ...]


class Group(NamedTuple):
    """Rows under one label ("" for none)."""

    label: str
    rows: tuple[Row, ...]


class Table(NamedTuple):
    """A table; without groups it was not run.  ``corner`` heads the column of row headers."""

    id: str
    caption: str
    corner: str
    columns: tuple[Cell, ...]
    groups: tuple[Group, ...]
    csv: str = ""


def grid(
    frame: pd.DataFrame,
    down: Sequence[str],
    across: tuple[str, Sequence[str]],
    cell: Callable[[dict[str, Any] | None], Cell],
) -> tuple[Row, ...]:
    """A row per modality of ``down``, a cell per value of the column ``across[0]``."""
    column, values = across
    found = {(r["modality"], r[column]): r for r in frame.to_dict(orient="records")}
    rows = {m: tuple(cell(found.get((m, v))) for v in values) for m in down}
    return tuple(Row("no model" if m in NO_MODEL else m, cells) for m, cells in rows.items())


def accuracy(row: dict[str, Any] | None) -> Cell:
    """``85.1`` over ``84.0 to 86.2``; a dagger where the interval includes 50."""
    if row is None or not finite(row["accuracy"]):
        return Cell(HOLE, kind="hole")
    low, high = float(row["low"]), float(row["high"])
    shown = f"{row['accuracy']:.1f}"
    if not (math.isfinite(low) and math.isfinite(high)):
        return Cell(shown, "no interval")
    near = low <= 50 <= high
    mark = "\N{DAGGER}" if near else ""
    return Cell(shown + mark, f"{low:.1f} to {high:.1f}", "chance" if near else "")


def control(row: dict[str, Any] | None) -> Cell:
    """An accuracy that should be 50, of kind "alarm" where its interval excludes that."""
    if row is None:
        return Cell("\N{EN DASH}", kind="quiet")
    cell = accuracy(row)._replace(text=number(row["accuracy"], 1).text)
    if str(row["name"]).startswith(NEGATIVE):
        return cell if cell.kind or cell.detail == "no interval" else cell._replace(kind="alarm")
    return cell._replace(kind="") if cell.kind == "chance" else cell


def number(value: Any, digits: int = 0, missing: str = HOLE) -> Cell:
    """A number with fixed decimals and thousands separated."""
    if not finite(value):
        return Cell(missing, kind="hole" if missing == HOLE else "quiet")
    return Cell(minus(f"{float(value):,.{digits}f}"))


def with_interval(value: Any, low: Any, high: Any, digits: int) -> Cell:
    """A number over its interval; of kind "clear" where that excludes zero."""
    cell = number(value, digits, missing="n/a")
    if not (finite(value) and finite(low) and finite(high)):
        return cell
    between = f"{number(low, digits).text} to {number(high, digits).text}"
    return Cell(cell.text, between, "clear" if low * high > 0 else "")


def p_value(value: Any) -> Cell:
    """A p value with three decimals, never 0."""
    if not finite(value):
        return Cell("n/a", kind="quiet")
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}")


def counts(frame: pd.DataFrame) -> str:
    """``150 pairs, 3 seeds`` where all rows agree; a range where they do not."""
    words = []
    for column, what in (("num_pairs", "pair"), ("num_seeds", "seed")):
        if column in frame.columns and frame[column].notna().any():
            low, high = int(frame[column].min()), int(frame[column].max())
            how_many = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            words.append(f"{how_many} {what}{'' if high == 1 else 's'}")
    return ", ".join(words)


def finite(value: Any) -> bool:
    """Whether a cell of a frame holds a number."""
    return isinstance(value, Real) and math.isfinite(value)


def text(value: Any) -> str:
    """A cell's words; nothing where it holds none."""
    return value if isinstance(value, str) else ""


def holes(count: int) -> tuple[Cell, ...]:
    """Cells of something that was not run."""
    return tuple(Cell(HOLE, kind="hole") for _ in range(count))


def headings(*names: str) -> tuple[Cell, ...]:
    """Column headers without a second line."""
    return tuple(Cell(name) for name in names)


def one_group(rows: Iterable[Row]) -> tuple[Group, ...]:
    """Rows without a label; no group where there are no rows."""
    kept = tuple(rows)
    return (Group("", kept),) if kept else ()
