"""One panel as inline SVG: small, focusable, readable without scripts, colored by style sheet.

Colors are classes (``s0`` ...), so that light, dark and print differ in the style sheet alone.
Every value is a ``<title>``, which browsers show on hover; the page's script, where it runs,
turns titles into labels with a better tooltip and arrow keys.
"""

import math
from html import escape
from typing import NamedTuple

from ray_slm.report.chart import HOLLOW, MARKERS, Figure, Panel, Point, Series

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 32, 44
ROWS_LEFT, ROW_HEIGHT = 164, 56
BACK_TO_FRONT = ("seed", "fit", "beyond", "mean", "range")
SIZE = 3.4  # half the height of a marker


class _Frame(NamedTuple):
    """Where a panel's plot lies, in SVG units."""

    panel: Panel
    left: float
    height: float

    def x(self, value: float) -> float:
        """Horizontal place of a value of the x axis."""
        return self.left + self.panel.x.fraction(value) * (WIDTH - RIGHT - self.left)

    def y(self, value: float) -> float:
        """Vertical place of a value of the y axis."""
        return self.bottom - self.panel.y.fraction(value) * (self.bottom - TOP)

    @property
    def bottom(self) -> float:
        """The line of the x axis."""
        return self.height - BOTTOM


def draw(figure: Figure) -> list[str]:
    """One ``<svg>`` per panel of the figure."""
    return [_panel(panel, f"{figure.id}-{i}") for i, panel in enumerate(figure.panels)]


def _panel(panel: Panel, name: str) -> str:
    rows = len(panel.y.ticks)
    height = TOP + BOTTOM + ROW_HEIGHT * rows if panel.rows else HEIGHT
    frame = _Frame(panel, ROWS_LEFT if panel.rows else LEFT, height)
    drawn = sorted(
        panel.series, key=lambda s: ("seed", "fit", "beyond", "mean", "range").index(s.kind)
    )
    bands = [_band(frame, s) for s in drawn if s.kind == "mean"]
    return "".join(
        [
            f'<svg class="panel" viewBox="0 0 {WIDTH} {_n(height)}" role="group" tabindex="0" '
            f'aria-labelledby="{name}-title" aria-describedby="{name}-desc">',
            f'<title id="{name}-title">{escape(panel.title)}</title>',
            f'<desc id="{name}-desc">{escape(describe(panel))}</desc>',
            f'<text class="h" x="0" y="15">{escape(panel.title)}<tspan class="l" dx="7">'
            f"{escape(panel.y.label)}</tspan></text>",
            _grid(frame),
            *bands,
            *(_series(frame, s) for s in drawn),
            "</svg>",
        ]
    )


def describe(panel: Panel) -> str:
    """The panel in words: its axes and where each line ends."""
    x, y = panel.x, panel.y
    words = [f"x: {x.label}, {x.ticks[0][1]} to {x.ticks[-1][1]}."]
    if not panel.rows:
        words.append(f"y: {y.label or panel.title}, {y.ticks[0][1]} to {y.ticks[-1][1]}.")
    known = [[p for p in s.points if math.isfinite(p.y)] for s in panel.series if s.kind == "mean"]
    ends = [points[-1].label for points in known if points]
    ends += [p.label for s in panel.series if s.kind == "range" for p in s.points]
    return " ".join([*words, *(f"{label}." for label in ends)])


def _grid(frame: _Frame) -> str:
    panel, right, bottom = frame.panel, WIDTH - RIGHT, _n(frame.bottom)
    parts = []
    for value, text in panel.x.ticks:
        x = _n(frame.x(value))
        parts.append(f'<path class="g" d="M{x} {TOP}V{bottom}"/>' if panel.rows else "")
        parts.append(f'<path class="ax" d="M{x} {bottom}v4"/>')
        parts.append(f'<text class="k m" x="{x}" y="{_n(frame.bottom + 16)}">{escape(text)}</text>')
    for value, text in panel.y.ticks:
        y = frame.y(value)
        if panel.rows:
            parts.append(_row_label(text, y))
            edge = _n(frame.y(value + 0.5))
            parts.append(f'<path class="g" d="M0 {edge}H{right}"/>')
            continue
        parts.append(f'<path class="g" d="M{_n(frame.left)} {_n(y)}H{right}"/>')
        parts.append(
            f'<text class="k e" x="{_n(frame.left - 6)}" y="{_n(y + 4)}">{escape(text)}</text>'
        )
    parts.append(f'<path class="ax" d="M{_n(frame.left)} {bottom}H{right}"/>')
    middle, below = _n((frame.left + right) / 2), _n(frame.bottom + 35)
    parts.append(f'<text class="l m" x="{middle}" y="{below}">{escape(panel.x.label)}</text>')
    return "".join([*parts, _reference(frame)])


def _row_label(text: str, y: float) -> str:
    first, *rest = text.split("\n")
    lines = [f'<text class="r b" x="0" y="{_n(y - 12)}">{escape(first)}</text>']
    for i, line in enumerate(rest):
        lines.append(f'<text class="r" x="0" y="{_n(y + 3 + 13 * i)}">{escape(line)}</text>')
    return "".join(lines)


def _reference(frame: _Frame) -> str:
    if frame.panel.reference is None:
        return ""
    axis, value, words = frame.panel.reference
    if axis == "x":
        return f'<path class="ref" d="M{_n(frame.x(value))} {TOP}V{_n(frame.bottom)}"/>'
    y, right = frame.y(value), WIDTH - RIGHT
    return (
        f'<path class="ref" d="M{_n(frame.left)} {_n(y)}H{right}"/>'
        f'<text class="k e" x="{right}" y="{_n(y - 4)}">{escape(words)}</text>'
    )


def _band(frame: _Frame, series: Series) -> str:
    """The intervals of a line as an area, in one piece per unbroken run of points."""
    areas = []
    for run in _runs(frame, series, bounded=True):
        over = [f"{_n(frame.x(p.x))} {_n(frame.y(p.high))}" for p in run]
        under = [f"{_n(frame.x(p.x))} {_n(frame.y(p.low))}" for p in reversed(run)]
        areas.append(f"M{'L'.join([*over, *under])}Z")
    if not areas:
        return ""
    name = escape(series.name)
    return f'<path class="band s{series.slot}" data-name="{name}" d="{"".join(areas)}"/>'


def _series(frame: _Frame, series: Series) -> str:
    name = f'<g class="series s{series.slot} {series.kind}" data-name="{escape(series.name)}">'
    parts = [name]
    if series.kind == "range":
        parts += [_interval(frame, p) for p in series.points if math.isfinite(p.low + p.high)]
    else:
        d = "".join(
            "M" + "L".join(f"{_n(frame.x(p.x))} {_n(frame.y(p.y))}" for p in run)
            for run in _runs(frame, series)
        )
        parts.append(f'<path class="line" d="{d}"/>' if d else "")
    if series.kind in ("mean", "range"):
        parts += [_mark(frame, series.slot, p) for p in series.points if math.isfinite(p.y)]
        parts += [_whisker(frame, p) for p in series.points if _alone(p, series, frame)]
    return "".join([*parts, "</g>"])


def _runs(frame: _Frame, series: Series, *, bounded: bool = False) -> list[list[Point]]:
    """Points between which a line may run: not from the untrained model, not across a hole."""
    runs: list[list[Point]] = [[]]
    for point in series.points:
        if not math.isfinite(point.low + point.high if bounded else point.y):
            runs.append([])
        elif not (frame.panel.x.zero and point.x <= 0):
            runs[-1].append(point)
    return [run for run in runs if len(run) > 1]


def _alone(point: Point, series: Series, frame: _Frame) -> bool:
    """Whether a point has an interval but no band: the untrained model, or a single checkpoint."""
    if series.kind == "range" or not math.isfinite(point.low + point.high):
        return False
    in_band = {p.x for run in _runs(frame, series, bounded=True) for p in run}
    return point.x not in in_band


def _whisker(frame: _Frame, point: Point) -> str:
    x, low, high = frame.x(point.x), frame.y(point.low), frame.y(point.high)
    return f'<path class="line" d="M{_n(x)} {_n(low)}V{_n(high)}"/>'


def _interval(frame: _Frame, point: Point) -> str:
    y = _n(frame.y(point.y))
    return f'<path class="line" d="M{_n(frame.x(point.low))} {y}H{_n(frame.x(point.high))}"/>'


def _mark(frame: _Frame, slot: int, point: Point) -> str:
    x, y = frame.x(point.x), frame.y(point.y)
    place = f'data-x="{_n(x)}" data-y="{_n(y)}"'
    return (
        f'<path class="{_class(slot)}" tabindex="-1" role="img" {place} '
        f'd="{marker(slot, x, y)}"><title>{escape(point.label)}</title></path>'
    )


def marker(slot: int, x: float, y: float, size: float = SIZE) -> str:
    """Path data of a slot's marker around a place."""
    a, b, c = _n(x - size), _n(y - size), _n(2 * size)
    kind = MARKERS[slot % len(MARKERS)]
    if kind in ("circle", "ring"):
        return f"M{a} {_n(y)}a{_n(size)} {_n(size)} 0 1 0 {c} 0a{_n(size)} {_n(size)} 0 1 0 -{c} 0Z"
    if kind in ("square", "box"):
        return f"M{a} {b}h{c}v{c}h-{c}Z"
    if kind in ("diamond", "gem"):
        big = _n(size * 1.3)
        return f"M{_n(x)} {_n(y - size * 1.3)}l{big} {big}l-{big} {big}l-{big} -{big}Z"
    tip, base = (y - 1.2 * size, y + size) if kind == "triangle" else (y + 1.2 * size, y - size)
    return f"M{_n(x)} {_n(tip)}L{_n(x + 1.2 * size)} {_n(base)}L{_n(x - 1.2 * size)} {_n(base)}Z"


def _class(slot: int) -> str:
    return "pt o" if MARKERS[slot % len(MARKERS)] in HOLLOW else "pt"


def swatch(slot: int) -> str:
    """The line and marker of a legend entry."""
    line = "" if slot >= len(MARKERS) else '<path class="line" d="M1 8H27"/>'
    return (
        f'<svg class="swatch s{slot}" viewBox="0 0 28 16" aria-hidden="true">'
        f'{line}<path class="{_class(slot)}" d="{marker(slot, 14, 8, 4)}"/></svg>'
    )


def _n(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")
