"""The report of a study: one page that works alone, and the same numbers as JSON, CSV and PNG.

The page loads nothing: style sheet and script are inlined and allowed by their hashes, and
everything else is forbidden by its own content policy.  Same results, same bytes.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from ray_slm.report import answer, checks, growth_tables, heard, printed, rates, svg, tables
from ray_slm.report.cells import Table
from ray_slm.report.chart import DARK, LIGHT, Figure, legend
from ray_slm.report.columns import COLUMNS
from ray_slm.report.figures import all_figures
from ray_slm.report.images import write_images
from ray_slm.report.tables import Results

HERE = Path(__file__).parent


class Entry(NamedTuple):
    """One heading of the provenance: words, or names with values."""

    heading: str
    words: str
    pairs: tuple[tuple[str, str], ...]


def render(results: Results, folder: Path) -> None:
    """Write index.html, tables.json, csv/*.csv, png/*.png and pdf/*.pdf into an existing folder.

    A part that did not run is a marked hole on the page and an empty table beside it; a figure
    without panels has no PNG and no PDF.

    Raises:
        ValueError: naming the frame that lacks a column or holds impossible values.
    """
    results = tables.in_order(results)
    found, figures = answer.answer(results), all_figures(results)
    for name in ("csv", "png", "pdf"):
        (folder / name).mkdir(exist_ok=True)
    for name in COLUMNS:
        tables.write_csv(folder / "csv" / f"{name}.csv", getattr(results, name))
    tables.write_csv(folder / "csv" / "table2.csv", tables.table2(results))
    for figure in figures:
        tables.write_csv(folder / "csv" / f"{figure.id}.csv", figure.frame)
        if figure.panels:
            write_images(folder, figure)
    (folder / "tables.json").write_text(
        tables.tables_json(results, found.sentences), encoding="utf-8"
    )
    (folder / "index.html").write_text(_page(results, found, figures), encoding="utf-8")


def html(results: Results) -> str:
    """The page alone.  Raises ValueError as ``render`` does."""
    results = tables.in_order(results)
    return _page(results, answer.answer(results), all_figures(results))


def _page(results: Results, found: answer.Answer, figures: list[Figure]) -> str:
    style, script = _style(), (HERE / "page.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        study=results.study,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        warnings=answer.warnings(results),
        answer=found,
        tables={table.id: table for table in _tables(results)},
        figures={figure.id: figure for figure in figures},
        panels={figure.id: [Markup(panel) for panel in svg.draw(figure)] for figure in figures},
        legends={f.id: [(n, Markup(svg.swatch(s)), s) for n, s in legend(f)] for f in figures},
        factors=answer.FACTORS,
        prompts=heard.prompted(results),
        holes=results.holes,
        made=_made(results.made),
    )


def _tables(results: Results) -> list[Table]:
    return [
        printed.corpus(results, tables.table2(results)),
        printed.other_splits(results),
        printed.accuracies(results),
        checks.conventions(results),
        checks.flips(results),
        printed.contrasts(results),
        heard.continuation(results),
        heard.factors(results),
        heard.scopes(results),
        heard.floor(results),
        checks.baselines(results),
        checks.controls(results),
        checks.self_tests(results),
        checks.bands(results),
        growth_tables.fits(results),
        growth_tables.seed_slopes(results),
        growth_tables.reach(results),
        growth_tables.growth(results),
        growth_tables.loss_fits(results),
        printed.views(results),
        printed.half_skill(results),
        rates.swept(results),
        printed.quarantine_counts(results),
        printed.quarantine_items(results),
    ]


def _style() -> str:
    """The style sheet, with a color for every slot in light and in dark."""
    slots = "".join(f".s{i}{{--c:{color}}}" for i, color in enumerate(LIGHT))
    dark = "".join(f".s{i}{{--c:{color}}}" for i, color in enumerate(DARK))
    sheet = (HERE / "page.css").read_text(encoding="utf-8")
    return f"{sheet}{slots}\n@media screen and (prefers-color-scheme: dark) {{{dark}}}\n"


def _hash(content: str) -> str:
    """A content-policy source for an inline element; browsers hash what stands between the tags."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _made(made: Mapping[str, Any]) -> list[Entry]:
    """Provenance as headings with words or with pairs, in order of heading."""
    entries = []
    for heading, value in sorted(tables.plain(made).items()):
        title = heading.replace("_", " ")
        if isinstance(value, dict):
            entries.append(Entry(title, "", tuple(_flat(value))))
        else:
            entries.append(Entry(title, _words(value), ()))
    return entries


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as (dotted path, words); lists of plain values stay together."""
    if isinstance(value, dict) and value:
        for key, item in sorted(value.items()):
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{path}[{place}]")
    else:
        yield path, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value) or "none"
    if isinstance(value, dict):
        return "none"
    return "unknown" if value is None else str(value)
