"""What a report is made of: plain frames, checked once, put in order, and written as JSON and CSV.

Everything on the page is computed from ``Results`` and nothing else, so a report of a damaged or
partial study shows holes instead of guesses.  Accuracies are percent throughout.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ray_slm.report.columns import (
    COLUMNS,
    INTEGERS,
    TASK_TITLES,
    checked,
    modality_rank,
    task_rank,
)

NOT_RUN = pd.DataFrame()
NO_CLIPS: Mapping[str, bytes] = MappingProxyType({})


class Results(NamedTuple):
    """All that a report shows.  Frames have the columns of ``COLUMNS`` and may have more.

    ``study`` holds name, question and notice, optionally task_titles (task to printed name) and
    synthetic (False where the corpus is recorded speech) and made_items (False where all items are
    published ones).  ``made`` maps a heading to text, a list or a mapping.  ``holes`` names the
    stages that are missing.  An empty frame did not run.
    """

    study: Mapping[str, Any]
    tokens: pd.DataFrame
    table4: pd.DataFrame
    table3: pd.DataFrame
    layers: pd.DataFrame
    scaling_points: pd.DataFrame
    scaling_fits: pd.DataFrame
    losses: pd.DataFrame
    quarantine: pd.DataFrame
    controls: pd.DataFrame
    bands: pd.DataFrame
    flips: pd.DataFrame
    made: Mapping[str, Any]
    holes: Sequence[str]
    fit_curves: pd.DataFrame = NOT_RUN
    seed_slopes: pd.DataFrame = NOT_RUN
    slope_ratios: pd.DataFrame = NOT_RUN
    reach: pd.DataFrame = NOT_RUN
    gaps: pd.DataFrame = NOT_RUN
    loss_fits: pd.DataFrame = NOT_RUN
    budgets: pd.DataFrame = NOT_RUN
    views: pd.DataFrame = NOT_RUN
    half_skill: pd.DataFrame = NOT_RUN
    self_tests: pd.DataFrame = NOT_RUN
    continuation: pd.DataFrame = NOT_RUN
    continuation_contrasts: pd.DataFrame = NOT_RUN
    prompts: pd.DataFrame = NOT_RUN
    samples: pd.DataFrame = NOT_RUN
    sweep: pd.DataFrame = NOT_RUN
    clips: Mapping[str, bytes] = NO_CLIPS  # MP3, by the names in the ``audio`` columns


def in_order(results: Results) -> Results:
    """The same results with every frame checked and sorted, so that rendering is deterministic.

    Raises ValueError naming the frame and what is wrong with it.
    """
    absent = [key for key in ("name", "question", "notice") if key not in results.study]
    if absent:
        raise ValueError(f"report: study lacks {absent}; it has {sorted(results.study)}")
    frames = {name: checked(name, getattr(results, name)) for name in COLUMNS}
    return results._replace(**frames, holes=sorted(results.holes))


def task_title(results: Results, task: str) -> str:
    """A task's name as printed."""
    return str(results.study.get("task_titles", {}).get(task, TASK_TITLES.get(task, task)))


def modalities_of(results: Results) -> list[str]:
    """Every modality that any part but the controls names, in the paper's order."""
    names = (name for name in COLUMNS if "modality" in COLUMNS[name] and name != "controls")
    frames = [getattr(results, name)["modality"] for name in names]
    found = {str(m) for modalities in [*frames, results.table3["baseline"]] for m in modalities}
    return sorted(found, key=modality_rank)


def tasks_of(frame: pd.DataFrame) -> list[str]:
    """The tasks of a frame, in printed order."""
    return sorted((str(task) for task in frame["task"].unique()), key=task_rank)


def table2(results: Results) -> pd.DataFrame:
    """Vocabulary, tokens and rates per modality on the training split."""
    train = results.tokens[results.tokens["split"] == "train"].copy()
    seconds = train["seconds"].astype(float)
    train["tokens_per_second"] = train["num_tokens"].astype(float) / seconds.where(seconds > 0)
    train["hours"] = seconds / 3600
    return train.drop(columns=["split"]).reset_index(drop=True)


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """JSON-ready rows: six significant digits, whole numbers where counts, null where absent."""
    records = frame.to_dict(orient="records")
    return [{str(k): plain(v, whole=k in INTEGERS) for k, v in row.items()} for row in records]


def plain(value: Any, *, whole: bool = False) -> Any:
    """A value as strict JSON allows it.  Raises ValueError for a type that has no plain form."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if whole and value.is_integer() else float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    raise ValueError(f"report: {value!r} of type {type(value).__name__} cannot stand in JSON")


def tables_json(results: Results, answer: Sequence[str]) -> str:
    """All tables as strict JSON.  ``results`` must be in order; ``answer`` holds the sentences."""
    named = {name: rows(getattr(results, name)) for name in COLUMNS}
    scaling = {
        key: named.pop(name)
        for key, name in (
            *(("points", "scaling_points"), ("fits", "scaling_fits")),
            *((name, name) for name in ("fit_curves", "seed_slopes", "slope_ratios", "reach")),
            *((name, name) for name in ("gaps", "loss_fits", "budgets", "views")),
        )
    }
    whole = {
        **named,
        "table2": rows(table2(results)),
        "scaling": scaling,
        "study": plain(results.study),
        "answer": list(answer),
        "made": plain(results.made),
        "holes": list(results.holes),
    }
    return json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """One CSV with a header line; floats as in the JSON, absent values empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(frame.columns)
        for row in rows(frame):
            writer.writerow(["" if value is None else value for value in row.values()])
