"""Continuations on the page: their table, what factors do to it, and every sample with a player."""

import base64
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ray_slm.report import chart
from ray_slm.report.cells import (
    Cell,
    Row,
    Table,
    finite,
    headings,
    holes,
    number,
    one_group,
    text,
    with_interval,
)
from ray_slm.report.chart import Figure, Panel, Point, Series, spread
from ray_slm.report.columns import modality_rank
from ray_slm.report.printed import ARROW
from ray_slm.report.tables import Results, modalities_of

RECORDED = "recorded"


class Sample(NamedTuple):
    """One continuation: whose, its words, its figures in words, and its sound as a data URI."""

    who: str
    words: str
    figures: str
    sound: str
    kind: str = ""


class Prompted(NamedTuple):
    """A prompt and everything that followed it."""

    id: str
    words: str
    speaker: str
    sound: str
    samples: tuple[Sample, ...]


def continuation(results: Results) -> Table:
    """Table 5: perplexities of what the models say, and what the chain costs."""
    names = (
        *("Geometric", "Mean", "Std", "Median", "Real, same chain", "Chain's WER, %"),
        *("Empty", "Looping", "Not ended", "Note"),
    )
    found = {row["modality"]: row for row in results.continuation.to_dict(orient="records")}
    rows = []
    for modality in modalities_of(results) if found else ():
        row = found.get(modality)
        cells = holes(len(names) - 1) if row is None else _figures(row)
        rows.append(Row(modality, (*cells, Cell(text(row["note"]) if row else "", kind="note"))))
    caption = (
        "Table 5. Continuations of held-out prompts: perplexity of what a recognizer hears, given "
        "the prompt's true text, by a language model of text; lower is likelier text. The interval "
        "is of the geometric mean, clustered by prompt. Real: what really followed, through the "
        "same chain from tokens on; its word error rate is the chain's noise floor."
    )
    return Table("table5", caption, "Modality", headings(*names), one_group(rows), "continuation")


def _figures(row: dict[str, Any]) -> tuple[Cell, ...]:
    samples = int(row["num_samples"])
    counts = (Cell(f"{int(row[f'num_{n}'])} of {samples}") for n in ("empty", "repetitive"))
    wer = number(row["wer"], 1, missing="n/a")._replace(detail=f"{int(row['num_words']):,} words")
    return (
        with_interval(row["geometric"], row["low"], row["high"], 0)._replace(kind=""),
        *(number(row[name], 0, missing="n/a") for name in ("mean", "std", "median", "real")),
        wer,
        *counts,
        Cell(f"{int(row['num_unended'])} of {samples}"),
    )


def factors(results: Results) -> Table:
    """Ratios of perplexities, paired by prompt; exploratory."""
    rows = []
    for row in results.continuation_contrasts.to_dict(orient="records"):
        ends = (row["low"], row["high"])
        shown = with_interval(row["ratio"], *ends, 2)._replace(kind="")
        clear = all(finite(end) for end in ends) and (ends[0] > 1 or ends[1] < 1)
        cells = (
            shown._replace(kind="clear" if clear else ""),
            number(row["num_prompts"]),
            Cell(text(row["note"]), kind="note"),
        )
        header = f"{row['factor']}: {row['baseline']} {ARROW} {row['modality']}"
        rows.append(Row(header, cells))
    caption = (
        "What each factor does to perplexity: the ratio of geometric means, modality over "
        "baseline, paired by prompt, with 95 % intervals. Exploratory: not among the contrasts "
        "that are corrected for their number. Bold: the interval excludes 1."
    )
    names = headings("Ratio", "Prompts", "Note")
    return Table("ppl-ratios", caption, "Factor", names, one_group(rows), "continuation_contrasts")


def scopes(results: Results) -> Table:
    """The same samples judged otherwise: with their prompt, and as the modality wrote them."""
    columns = ("geometric", "whole", "own_text")
    found = {row["modality"]: row for row in results.continuation.to_dict(orient="records")}
    rows = [
        Row(modality, tuple(number(found[modality].get(c), 0, "n/a") for c in columns))
        for modality in modalities_of(results)
        if modality in found
    ]
    caption = (
        "Geometric means of perplexity, counted otherwise: of the continuation alone, as in Table "
        "5; with the tokens of its prompt; and of the text that a writing modality wrote, before "
        "it was spoken and heard."
    )
    names = headings("Continuation", "With the prompt", "As written")
    return Table("scopes", caption, "Modality", names, one_group(rows), "continuation")


def floor(results: Results) -> Table:
    """What recognizer and judge make of the recordings themselves."""
    frame = results.prompts
    rows: list[Row] = []
    if len(frame):
        words = float(frame["words"].sum())
        wer = 100 * float(frame["errors"].sum()) / words if words else float("nan")
        heard, true = (_geometric(frame[c]) for c in ("perplexity", "written_perplexity"))
        cells = (number(wer, 1, "n/a"), number(heard, 0, "n/a"), number(true, 0, "n/a"))
        rows = [Row(f"{len(frame)} held-out recordings", cells)]
    caption = (
        "The noise floor without any modality: the recordings of what really followed, as the "
        "recognizer hears them, and their true text as the judge finds it (geometric means)."
    )
    names = headings("WER of the recognizer, %", "Perplexity as heard", "Perplexity as written")
    return Table("floor", caption, "", names, one_group(rows), "prompts")


def _geometric(values: pd.Series) -> float:
    known = values.dropna()
    return float(np.exp(np.log(known).mean())) if len(known) else float("nan")


def figure(results: Results) -> Figure:
    """Figure 6: perplexities of continuations, and of what really followed."""
    frame = results.continuation.dropna(subset=["geometric", "real"], how="all")
    frame = frame.sort_values("modality", key=lambda c: c.map(modality_rank), kind="stable")
    rows = list(frame.to_dict(orient="records"))
    series = []
    for slot, (column, name) in enumerate(
        (("geometric", "continued by the model"), ("real", "what really followed, same chain"))
    ):
        points = []
        for place, row in enumerate(rows):
            if finite(row[column]):
                own = column == "geometric"
                low, high = (row["low"], row["high"]) if own else (math.nan, math.nan)
                words = f"{row['modality']}, {name}: {spread(float(row[column]), low, high, 0)}"
                at = place + 0.2 * slot - 0.1
                points.append(Point(float(row[column]), at, low, high, words))
        series.append(Series(name, chart.INK + slot, "range", tuple(points)))
    values = [v for s in series for p in s.points for v in (p.x, p.low, p.high)]
    x = chart.log_axis("perplexity, log scale; left is likelier text", [v for v in values if v > 0])
    y = chart.row_axis([chart.clip(str(row["modality"]), 20) for row in rows])
    panel = Panel("Geometric mean over prompts", x, y, tuple(series), rows=True)
    return Figure(
        "figure6",
        "Perplexity of continuations",
        "Lines are 95 % intervals clustered by prompt. What really followed goes through the same "
        "chain from tokens on: a model that spoke as the corpus does would stand there.",
        (panel,) if rows else (),
        results.continuation,
    )


def prompted(results: Results) -> list[Prompted]:
    """Every prompt with what really followed, then each modality's samples."""
    if results.prompts.empty:
        return []
    by_prompt = dict(list(results.samples.groupby("prompt"))) if len(results.samples) else {}
    found = []
    for row in results.prompts.to_dict(orient="records"):
        real = Sample(
            "what really followed",
            text(row["rest"]),
            f"perplexity {number(row['written_perplexity'], 0, 'n/a').text} as written",
            _sound(results.clips, row["rest_audio"]),
            RECORDED,
        )
        own = by_prompt.get(row["prompt"], pd.DataFrame()).to_dict(orient="records")
        samples = (real, *(_sample(one, results.clips) for one in own))
        sound = _sound(results.clips, row["audio"])
        found.append(
            Prompted(str(row["prompt"]), text(row["text"]), text(row["speaker"]), sound, samples)
        )
    return found


def _sample(row: dict[str, Any], clips: Mapping[str, bytes]) -> Sample:
    recorded = row["kind"] == RECORDED
    who = str(row["modality"])
    what = "what really followed, through the chain" if recorded else f"sample {row['sample'] + 1}"
    seed = "" if recorded else f", seed {row['seed']}"
    marks = [] if recorded else _marks(row)
    judged = finite(row["perplexity"])
    figures = f"perplexity {number(row['perplexity']).text}" if judged else "nothing to judge"
    heard = text(row["transcript"]) or "(nothing)"
    return Sample(
        f"{who}, {what}{seed}",
        heard,
        "; ".join([figures, f"{row['seconds']:.1f} s", *marks]),
        _sound(clips, row["audio"]),
        row["kind"],
    )


def _marks(row: dict[str, Any]) -> list[str]:
    written = text(row.get("written"))
    return [
        *(["looping"] if row["repetitive"] else []),
        *([] if row["ended"] else ["not ended"]),
        *([f"written: {written}"] if written else []),
    ]


def _sound(clips: Mapping[str, bytes], name: str) -> str:
    if not name or name not in clips:
        return ""
    return f"data:audio/mpeg;base64,{base64.b64encode(clips[name]).decode()}"
