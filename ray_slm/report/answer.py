"""The answer in two sentences, written by rules from Tables 3 and 4, and what must be said with it.

The rules claim no more than the intervals allow: they say when zero is not excluded, when there
is one seed, and when nothing can be said at all.
"""

from typing import Any, NamedTuple

import pandas as pd

from ray_slm.evaluation.statistics import disagreements
from ray_slm.report.cells import finite
from ray_slm.report.chart import minus
from ray_slm.report.tables import Results, task_title, tasks_of

FACTORS = {
    "A": "phonetic instead of semantic units",
    "B": "longer sequences that carry duration",
    "C": "paralinguistic variability",
}
SCALES = (("points", 1), ("logit", 1), ("skill_lost", -1))  # and the sign of a gain
SCALE_NAMES = {"points": "points", "logit": "log-odds", "skill_lost": "above-chance skill"}
SYNTHETIC = (
    "Hours of synthetic speech and small models show the method at work. The numbers are this "
    "study's own, not the paper's, and must not be set beside them."
)
ALWAYS = (
    "Where speech units come from Whisper, they were learned with (weak) supervision by text, "
    "so that factor C may look smaller than it is with units such as HuBERT's.",
    "Each factor is a bundle: A also changes alphabet and length; B also changes what a context "
    "window holds; C also changes vocabulary size and adds the noise of the units.",
)


class Answer(NamedTuple):
    """Two sentences, and the tasks on which the three scales disagree."""

    sentences: tuple[str, str]
    disagreements: tuple[str, ...]


def warnings(results: Results) -> list[str]:
    """What every reader must see before any number."""
    synthetic = [SYNTHETIC] if results.study.get("synthetic", True) else []
    notice = str(results.study["notice"]).strip()
    return [*([notice] if notice else []), *synthetic, *ALWAYS]


def answer(results: Results) -> Answer:
    """The answer that the tables allow.  ``results`` must be in order."""
    found = results.table3[results.table3["points"].map(finite)]
    if found.empty:
        return Answer(_nothing(results), ())
    clear = found[[_excludes_zero(row) for row in _records(found)]]
    losses = clear[clear["points"].astype(float) < 0]
    if losses.empty:
        top = _worst(found)
        return Answer((_no_loss(results, top, len(found)), _rest(results, found, top)), ())
    top = _worst(losses)
    first = (
        f"Factor {_factor(top)} costs most: {minus(_signed(top))} points of accuracy on "
        f"{task_title(results, top['task'])} ({_interval(top)}, zero excluded; {_holm(top)}), "
        f"{_ranking(results, found, top)}."
    )
    return Answer((first, _rest(results, found, top)), tuple(_disagreements(results, found)))


def _nothing(results: Results) -> tuple[str, str]:
    second = (
        f"Of accuracies, {len(results.table4)} are known; of stages, {len(results.holes)} have "
        "no result yet."
    )
    return "Nothing can be said yet: no contrast between modalities has been evaluated.", second


def _no_loss(results: Results, top: dict[str, Any], count: int) -> str:
    return (
        f"No loss whose 95 % interval excludes zero was found in {count} comparisons, so which "
        f"factor costs most cannot be said: the lowest estimate is {minus(_signed(top))} points, "
        f"of factor {_factor(top)}, on {task_title(results, top['task'])} ({_interval(top)})."
    )


def _rest(results: Results, found: pd.DataFrame, top: dict[str, Any]) -> str:
    """The worst row of each other factor, then what limits these numbers."""
    parts = []
    for factor in dict.fromkeys(found["factor"]):
        if factor != top["factor"]:
            row = _worst(found[found["factor"] == factor])
            place = f"on {task_title(results, row['task'])} ({_ends(row)}, {_verdict(row)})"
            parts.append(f"{factor} changes accuracy by {minus(_signed(row))} points {place}")
    start = f"Where it costs most, factor {' and factor '.join(parts)}"
    start = start if parts else "No other factor was evaluated"
    limits = [*_chance(results), *_seeds(found)]
    return "; ".join([start, *limits]) + "."


def _seeds(found: pd.DataFrame) -> list[str]:
    if "num_seeds" not in found.columns:
        return []
    fewest = int(found["num_seeds"].min())
    if fewest > 1:
        return []
    some = "" if int(found["num_seeds"].max()) == 1 else "some of "
    return [f"with one seed, {some}these intervals hold item noise only"]


def _chance(results: Results) -> list[str]:
    """Tasks on which nothing was learned: a contrast there compares noise."""
    frame = results.table4[results.table4["default"].astype(bool)]
    at_chance = []
    for task in tasks_of(frame):
        part = frame[frame["task"] == task]
        if ((part["low"] <= 50) & (part["high"] >= 50)).all():
            at_chance.append(task_title(results, task))
    words = " and ".join(at_chance)
    return [f"on {words} no modality can be told from chance"] if at_chance else []


def _ranking(results: Results, found: pd.DataFrame, top: dict[str, Any]) -> str:
    """Whether the other two scales put the same comparison first."""
    others = []
    for scale, sign in SCALES[1:]:
        usable = found[found[scale].map(finite)]
        if usable.empty:
            others.append(f"no value in {SCALE_NAMES[scale]}")
            continue
        first = _worst(usable, scale, sign)
        if any(first[key] != top[key] for key in ("factor", "baseline", "modality", "task")):
            place = f"factor {first['factor']} on {task_title(results, first['task'])}"
            others.append(f"whereas {SCALE_NAMES[scale]} puts {place} first")
    return ", ".join(others) if others else "first also in log-odds and in above-chance skill"


def _disagreements(results: Results, found: pd.DataFrame) -> list[str]:
    """One sentence for each task and two factors whose order depends on the scale."""
    sentences = []
    for task, larger in disagreements(found):
        orders = (f"by {scale} {one} over {other}" for scale, (one, other) in larger.items())
        start = f"On {task_title(results, task)} it depends on the scale which factor does more"
        sentences.append(f"{start}: {', '.join(orders)}.")
    return sentences


def _worst(frame: pd.DataFrame, column: str = "points", sign: int = 1) -> dict[str, Any]:
    """The row of the greatest loss; the first of equals."""
    records = _records(frame)
    return min(records, key=lambda row: sign * float(row[column]))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict(orient="records")]


def _excludes_zero(row: dict[str, Any]) -> bool:
    return finite(row["low"]) and finite(row["high"]) and row["low"] * row["high"] > 0


def _factor(row: dict[str, Any]) -> str:
    meaning = FACTORS.get(str(row["factor"]))
    step = f"{row['baseline']} to {row['modality']}"
    return f"{row['factor']} ({meaning}; {step})" if meaning else f"{row['factor']} ({step})"


def _signed(row: dict[str, Any]) -> str:
    return f"{float(row['points']):+.1f}"


def _interval(row: dict[str, Any]) -> str:
    ends = _ends(row)
    return ends if ends == "no interval" else f"95 % interval {ends}"


def _ends(row: dict[str, Any]) -> str:
    if not (finite(row["low"]) and finite(row["high"])):
        return "no interval"
    low, high = (minus(f"{float(row[k]):+.1f}") for k in ("low", "high"))
    return f"{low} to {high}"


def _verdict(row: dict[str, Any]) -> str:
    return "zero excluded" if _excludes_zero(row) else "zero not excluded"


def _holm(row: dict[str, Any]) -> str:
    p = row["p_holm"]
    if not finite(p):
        return "no Holm-corrected p"
    verdict = "survives" if p < 0.05 else "does not survive"
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return f"{shown}, {verdict} Holm's correction"
