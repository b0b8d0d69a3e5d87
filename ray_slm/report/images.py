"""The same figures as PNG and PDF files, for slides, papers and readers without a browser.

The canvas is used without pyplot: no global state, no display, and the same bytes every time.
"""

import math
from pathlib import Path
from typing import Any

from ray_slm.report.chart import HOLLOW, LIGHT, MARKERS, Figure, Panel, Series, clip, legend

SHAPES = {
    **{"circle": "o", "ring": "o", "square": "s", "box": "s", "diamond": "D", "gem": "D"},
    **{"triangle": "^", "wedge": "v"},
}
INKS = ("#1a1d23", "#5b6270", "#8b919c")
DPI = 130
UNDATED = {"CreationDate": None, "Creator": None, "Producer": None}


def write_images(folder: Path, figure: Figure) -> None:
    """Draw a figure that has panels into ``png/<id>.png`` and ``pdf/<id>.pdf`` of a folder."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with rc_context({"font.family": "DejaVu Sans", "font.size": 8.5, "text.parse_math": False}):
        rows = max(len(p.y.ticks) if p.rows else 0 for p in figure.panels)
        height = 1.4 + 0.55 * rows if rows else 3.6
        canvas = Canvas(figsize=(4.4 * len(figure.panels), height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.subplots(1, len(figure.panels), squeeze=False)[0]
        for axis, panel in zip(axes, figure.panels, strict=True):
            _panel(axis, panel)
        columns = 2 * len(figure.panels)
        entries = [_handle(name, slot) for name, slot in legend(figure)]
        canvas.legend(handles=entries, loc="outside lower center", ncols=columns, frameon=False)
        canvas.suptitle(
            clip(figure.title, 30 * len(figure.panels) + 20), fontsize=10, fontweight="bold"
        )
        canvas.savefig(folder / "png" / f"{figure.id}.png", metadata={"Software": None})
        canvas.set_layout_engine("none")  # laid out once for both
        canvas.savefig(folder / "pdf" / f"{figure.id}.pdf", metadata=UNDATED)


def _panel(axis: Any, panel: Panel) -> None:
    axis.set_title(clip(panel.title, 40), loc="left", fontsize=9)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_xticks([panel.x.fraction(v) for v, _ in panel.x.ticks], [t for _, t in panel.x.ticks])
    axis.set_yticks([panel.y.fraction(v) for v, _ in panel.y.ticks], [t for _, t in panel.y.ticks])
    axis.set_xlabel(panel.x.label)
    axis.set_ylabel(panel.y.label)
    axis.grid(visible=True, axis="x" if panel.rows else "y", color="#e3e5e9", linewidth=0.6)
    axis.spines[["top", "right", *(["left"] if panel.rows else [])]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    if panel.reference is not None:
        which, value, _ = panel.reference
        line, scale = (axis.axvline, panel.x) if which == "x" else (axis.axhline, panel.y)
        line(scale.fraction(value), color="#5b6270", linestyle=":", linewidth=1)
    for series in panel.series:
        _series(axis, panel, series)


def _series(axis: Any, panel: Panel, series: Series) -> None:
    color = _color(series.slot)
    known = [p for p in series.points if math.isfinite(p.y)]
    trained = [p for p in series.points if not (panel.x.zero and p.x <= 0)]
    xs = [panel.x.fraction(p.x) for p in trained]
    ys = [panel.y.fraction(p.y) for p in trained]
    if series.kind == "range":
        for point, y in zip(trained, ys, strict=True):
            if math.isfinite(point.low + point.high):
                ends = [panel.x.fraction(point.low), panel.x.fraction(point.high)]
                axis.plot(ends, [y, y], color=color, linewidth=1.2)
        axis.plot(xs, ys, linestyle="", **_marker(series.slot))
        return
    if series.kind == "seed":
        axis.plot(xs, ys, color=color, linewidth=0.6, alpha=0.35)
        return
    if series.kind in ("fit", "beyond"):
        style = "solid" if series.kind == "fit" else (0, (4, 3))
        axis.plot(xs, ys, color=color, linewidth=0.9, linestyle=style)
        return
    bounded = [p for p in trained if math.isfinite(p.low + p.high)]
    axis.fill_between(
        [panel.x.fraction(p.x) for p in bounded],
        [panel.y.fraction(p.low) for p in bounded],
        [panel.y.fraction(p.high) for p in bounded],
        color=color,
        alpha=0.13,
        linewidth=0,
    )
    axis.plot(xs, ys, color=color, linewidth=1.3)
    places = [panel.x.fraction(p.x) for p in known], [panel.y.fraction(p.y) for p in known]
    axis.plot(*places, linestyle="", **_marker(series.slot))


def _handle(name: str, slot: int) -> Any:
    from matplotlib.lines import Line2D

    line = "" if slot >= len(LIGHT) else "-"
    return Line2D([], [], color=_color(slot), linestyle=line, label=clip(name, 32), **_marker(slot))


def _color(slot: int) -> str:
    return LIGHT[slot] if slot < len(LIGHT) else INKS[(slot - len(LIGHT)) % len(INKS)]


def _marker(slot: int) -> dict[str, Any]:
    kind, color = MARKERS[slot % len(MARKERS)], _color(slot)
    face = "#ffffff" if kind in HOLLOW else color
    shape = {"marker": SHAPES[kind], "markersize": 4.2, "markeredgewidth": 1.1}
    return {**shape, "markerfacecolor": face, "markeredgecolor": color}
