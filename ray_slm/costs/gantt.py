"""The schedule drawn: bars of text for a terminal, an SVG file for a page.

Rows are stages that last; evaluations of a run fold into one row, so that a plan of hundreds of
stages still fits a screen.
"""

import html
from collections.abc import Sequence
from typing import NamedTuple

from ray_slm.costs.timeline import Span, Timeline
from ray_slm.recipes import Evaluate, Train

COLORS = {
    "prepare": "#8d99ae",
    "tokenize": "#2a9d8f",
    "train": "#e76f51",
    "evaluate": "#457b9d",
    "report": "#6d597a",
}
KINDS = {
    "corpus": "prepare",
    "items": "prepare",
    "vocabulary": "tokenize",
    "tokens": "tokenize",
    "train": "train",
    "cooldown": "train",
    "prompts": "prepare",
    "vocoder": "evaluate",
    "continue": "evaluate",
    "evaluate": "evaluate",
    "report": "report",
}


class Bar(NamedTuple):
    """A row: a name, its kind, and stretches from start to end in seconds."""

    name: str
    kind: str
    stretches: tuple[tuple[float, float], ...]


def bars(timeline: Timeline) -> list[Bar]:
    """Rows in the order in which they start; items and their tokens are folded too."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for span in sorted(timeline.spans, key=lambda span: span.start):
        rows.setdefault(_row(span), []).append((span.start, span.end))
    return [Bar(name, kind, _merged(spans)) for (name, kind), spans in rows.items()]


def _row(span: Span) -> tuple[str, str]:
    parts = span.job.stage.name.split("/")
    kind = KINDS.get(parts[0], "report")
    if isinstance(span.job.stage.recipe, Evaluate):
        return "/".join(parts[:3]), kind
    if isinstance(span.job.stage.recipe, Train):
        return "/".join(parts[:3]), kind
    return ("items" if parts[0] == "items" else "/".join(parts[:2])), kind


def _merged(spans: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def text(timeline: Timeline, width: int = 100) -> str:
    """One line per row; ``#`` where it runs, at least one mark for what is short."""
    rows = bars(timeline)
    label = min(34, max((len(bar.name) for bar in rows), default=0)) + 1
    columns = max(20, width - label - 2)
    scale = columns / (timeline.end or 1.0)
    lines = []
    for bar in rows:
        cells = ["."] * columns
        for start, end in bar.stretches:
            first = min(int(start * scale), columns - 1)
            last = max(first + 1, min(columns, round(end * scale)))
            cells[first:last] = "#" * (last - first)
        lines.append(f"{bar.name[: label - 1]:<{label}}|{''.join(cells)}|")
    lines.append(f"{'':<{label}} 0{span_text(timeline.end):>{columns - 1}}")
    return "\n".join(lines)


def span_text(seconds: float) -> str:
    """``42 s``, ``12 min``, ``3.5 h``, ``2.1 d``: the unit that reads best."""
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length or (unit == "h" and seconds >= length):
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


ROW, LEFT, WIDE, TOP = 18, 250, 760, 34


def svg(timeline: Timeline, title: str) -> str:
    """A self-contained picture; every bar has its name and times as a tooltip."""
    rows = bars(timeline)
    height = TOP + ROW * len(rows) + 30
    scale = WIDE / (timeline.end or 1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 20} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="14">'
        f"{html.escape(title)}</text>",
    ]
    for tick in range(5):
        x = LEFT + WIDE * tick / 4
        label = span_text(timeline.end * tick / 4)
        parts.append(
            f'<path d="M{x:.1f} {TOP}V{height - 24}" stroke="#ddd"/>'
            f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{label}</text>'
        )
    for index, bar in enumerate(rows):
        y = TOP + ROW * index
        parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{bar.name}</text>')
        parts += [_rectangle(bar, start, end, y, scale) for start, end in bar.stretches]
    return "\n".join([*parts, "</svg>\n"])


def _rectangle(bar: Bar, start: float, end: float, y: float, scale: float) -> str:
    x, width = LEFT + start * scale, max((end - start) * scale, 1.0)
    when = f"{bar.name}: {span_text(start)} to {span_text(end)}"
    return (
        f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}" '
        f'fill="{COLORS[bar.kind]}"><title>{html.escape(when)}</title></rect>'
    )
