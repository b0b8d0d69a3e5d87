"""Figures as values, drawn once as SVG for the page and once as PNG: neither knows the other.

An axis maps a value to a fraction of its length, so both drawings agree on what stands where.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import pandas as pd

ZERO_AT, LOG_FROM = 0.025, 0.11  # where a log axis puts zero, and where its decades begin

# One slot per modality: text blue circles, phones green and brown squares and diamonds, speech
# orange triangles.  Told apart under three kinds of color blindness, and by marker without color.
LIGHT = ("#0b3fb5", "#4795e8", "#0c4a3a", "#268a4e", "#5f4a00", "#e0530f", "#971477", "#5b6270")
DARK = ("#5784ff", "#a9cdf8", "#12a066", "#62ee7c", "#b98a1e", "#ffb3a3", "#d24fb0", "#b7bcc6")
MARKERS = ("circle", "ring", "square", "box", "diamond", "triangle", "wedge", "gem")
HOLLOW = ("ring", "box", "gem")
INK = 8  # the first of the slots in the color of the text, for series that are no modality


class Point(NamedTuple):
    """A value with its interval (NaN where there is none) and its words for a reader."""

    x: float
    y: float
    low: float
    high: float
    label: str


class Series(NamedTuple):
    """Points of one kind.

    ``mean`` is a line with markers and a band, ``seed`` a faint line, ``fit`` a thin line,
    ``beyond`` a dashed one, ``range`` markers with horizontal intervals (low, high are on x).
    """

    name: str
    slot: int
    kind: Literal["mean", "seed", "fit", "beyond", "range"]
    points: tuple[Point, ...]


class Axis(NamedTuple):
    """A scale from ``low`` to ``high`` with its ticks; ``zero``: a log axis with a place for 0."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False
    zero: bool = False
    flipped: bool = False

    def fraction(self, value: float) -> float:
        """Where a value stands, 0 at the origin and 1 at the end."""
        if self.zero and value <= 0:
            return ZERO_AT
        if self.log:
            value, low, high = math.log10(value), math.log10(self.low), math.log10(self.high)
        else:
            low, high = self.low, self.high
        share = (value - low) / (high - low)
        share = LOG_FROM + (1 - LOG_FROM) * share if self.zero else share
        return 1 - share if self.flipped else share


class Panel(NamedTuple):
    """One coordinate system.  ``reference``: axis ("x" or "y"), value and words of a line."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    reference: tuple[str, float, str] | None = None
    rows: bool = False  # the y axis lists rows, whose tick labels are two lines of text


class Figure(NamedTuple):
    """A figure of the report: what it shows, in words, in panels and as a frame for the CSV."""

    id: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    frame: pd.DataFrame


def legend(figure: Figure) -> list[tuple[str, int]]:
    """Names and slots of the series that a legend must list, each once, in order of slot."""
    found = {
        (s.slot, s.name) for p in figure.panels for s in p.series if s.kind in ("mean", "range")
    }
    return [(name, slot) for slot, name in sorted(found)]


def linear_axis(label: str, values: Iterable[float], *, count: int = 5) -> Axis:
    """An axis over all finite values, widened to round numbers."""
    finite = [float(v) for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low < 1e-9:
        low, high = low - 1, high + 1
    step = _round_step((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((k * step, minus(f"{k * step:.{digits}f}")) for k in range(first, last + 1))
    return Axis(label, first * step, last * step, ticks)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999))


def log_axis(label: str, values: Iterable[float]) -> Axis:
    """A base-10 axis with a place of its own for zero where a value is zero."""
    finite = [float(v) for v in values if math.isfinite(v)]
    positive = [v for v in finite if v > 0] or [1.0, 10.0]
    low, high = min(positive) / 1.12, max(positive) * 1.12
    zero = any(v <= 0 for v in finite)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [m * 10.0**d for d in decades for m in steps if low <= m * 10.0**d <= high]
        if len(found) >= 3:
            break
    found = found or [positive[0]]
    every = 1 + (len(found) - 1) // 7
    ticks = [(v, short(v)) for v in found[::every]]
    return Axis(label, low, high, tuple([(0.0, "0"), *ticks] if zero else ticks), True, zero)


def row_axis(labels: Sequence[str]) -> Axis:
    """One row per label, from the top down."""
    ticks = tuple((float(i), label) for i, label in enumerate(labels))
    return Axis("", -0.5, len(labels) - 0.5, ticks, flipped=True)


def short(value: float) -> str:
    """12,300,000 as 12.3M."""
    if value >= 0.9995e15:
        return f"{value:.3g}".replace("e+", "e")
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def minus(text: str) -> str:
    """A real minus sign in place of a leading hyphen, and none before zero."""
    if text.startswith("-"):
        return f"\N{MINUS SIGN}{text[1:]}" if text.strip("-0.") else text[1:]
    return text


def spread(value: float, low: float, high: float, digits: int = 1) -> str:
    """``12.3 [10.1, 14.5]``, or without brackets where there is no interval."""
    text = minus(f"{value:.{digits}f}")
    if not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{minus(f'{low:.{digits}f}')}, {minus(f'{high:.{digits}f}')}]"


def clip(name: str, length: int) -> str:
    """A name of at most so many characters; the page's tables have it whole."""
    return name if len(name) <= length else f"{name[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def slots(modalities: Sequence[str]) -> dict[str, int]:
    """A slot for every modality: the paper's keep theirs, speech comes next, then the rest."""
    fixed = ("text-bpe", "text-raw", "phone-bpe", "phone-raw", "phone-repeat")
    found = {name: fixed.index(name) for name in modalities if name in fixed}
    others = [name for name in modalities if name not in fixed]
    free = range(len(fixed), len(MARKERS))
    return found | {name: free[i % len(free)] for i, name in enumerate(others)}
