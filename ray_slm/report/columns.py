"""The columns of every frame that a report reads, and the checks that come before anything else.

Rendering must not depend on the order of rows, nor quietly print what cannot be true.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

PERCENT_FRAMES = ("table4", "layers", "scaling_points", "controls", "bands")
MODALITIES = ("text-bpe", "text-raw", "phone-bpe", "phone-raw", "phone-repeat")
TASK_TITLES = {
    "swuggy": "sWUGGY-style",
    "sblimp": "sBLIMP-style",
    "topic-storycloze": "Topic-StoryCloze-style",
}
COLUMNS: dict[str, tuple[str, ...]] = {
    "tokens": (
        *("modality", "split", "vocab_size", "num_tokens", "num_utterances", "seconds"),
        "num_quarantined",
    ),
    "table4": (
        *("modality", "task", "convention", "default", "accuracy", "low", "high"),
        *("num_pairs", "num_seeds"),
    ),
    "table3": (
        *("factor", "baseline", "modality", "task", "points", "low", "high", "logit"),
        *("skill_lost", "p_holm", "tost", "note"),
    ),
    "layers": ("modality", "task", "layer", "accuracy", "low", "high"),
    "scaling_points": ("modality", "task", "seed", "tokens", "accuracy", "low", "high"),
    "scaling_fits": (
        *("modality", "task", "form", "slope", "low", "high", "heldout_error", "note"),
    ),
    "slope_ratios": (*("factor", "baseline", "modality", "task", "ratio", "low", "high", "note"),),
    "gaps": (*("factor", "baseline", "modality", "task", "goal", "times", "low", "high", "note"),),
    "fit_curves": ("modality", "task", "form", "tokens", "accuracy", "extrapolated"),
    "seed_slopes": ("modality", "task", "run", "form", "slope", "num_checkpoints"),
    "reach": ("modality", "task", "goal", "tokens", "low", "high", "interval", "note"),
    "loss_fits": (
        *("modality", "form", "slope", "low", "high", "unit", "heldout_error", "best", "floor"),
        "note",
    ),
    "budgets": ("modality", "hours_per_token", "flops_per_token"),
    "views": ("view", "factor", "baseline", "modality", "task", "points", "low", "high", "note"),
    "half_skill": ("modality", "task", "layer", "final", "half", "note"),
    "self_tests": ("task", "oracle", "negated", "constant", "unchanged_by_shuffling"),
    "losses": ("modality", "seed", "tokens", "split", "nats_per_token", "bits_per_second"),
    "quarantine": ("stage", "id", "reason", "detail"),
    "controls": ("name", "modality", "task", "accuracy", "low", "high"),
    "bands": ("modality", "band", "accuracy", "low", "high"),
    "flips": ("modality", "task", "convention", "num_flipped", "num_decisions", "flipped"),
    "continuation": (
        *("modality", "geometric", "low", "high", "mean", "std", "median", "real", "wer"),
        *("num_words", "num_samples", "num_empty", "num_repetitive", "num_unended", "note"),
    ),
    "continuation_contrasts": (
        *("factor", "baseline", "modality", "ratio", "low", "high", "num_prompts", "note"),
    ),
    "prompts": (
        *("prompt", "text", "rest", "speaker", "audio", "rest_audio", "transcript", "errors"),
        *("words", "perplexity", "written_perplexity"),
    ),
    "samples": (
        *("prompt", "modality", "seed", "kind", "sample", "transcript", "perplexity", "seconds"),
        *("repetitive", "ended", "audio"),
    ),
    "sweep": (
        *("modality", "peak_lr", "tokens", "of_tokens", "nats_per_token", "bits_per_second"),
        *("excess", "note"),
    ),
}
INTEGERS = frozenset(
    (
        *("vocab_size", "num_tokens", "num_utterances", "num_quarantined", "num_pairs"),
        *("num_clusters", "num_seeds", "num_checkpoints", "num_flipped", "num_decisions"),
        *("seed", "tokens", "layer", "num_prompts", "num_samples", "num_empty", "num_words"),
        *("num_repetitive", "num_unended", "sample", "errors", "words", "of_tokens", "goal", "run"),
    )
)

FIGURES = frozenset(
    (
        *("accuracy", "low", "high", "points", "logit", "logit_low", "logit_high", "skill_lost"),
        *("skill_low", "skill_high", "p_holm", "slope", "heldout_error", "flipped", "seconds"),
        *("hours_per_token", "flops_per_token", "floor", "final", "half"),
        *("oracle", "negated", "constant"),
        *("nats_per_token", "bits_per_second", "ratio", "times", "geometric", "mean", "std"),
        *("median", "real", "wer", "perplexity", "written_perplexity", "peak_lr", "excess"),
    )
)
UNIQUE = {
    "tokens": ["modality", "split"],
    "table4": ["modality", "task", "convention"],
    "table3": ["factor", "baseline", "modality", "task"],
    "layers": ["modality", "task", "layer"],
    "scaling_points": ["modality", "task", "seed", "tokens"],
    "budgets": ["modality"],
    "half_skill": ["modality", "task"],
    "self_tests": ["task"],
    "continuation": ["modality"],
    "prompts": ["prompt"],
    "samples": ["prompt", "modality", "seed", "kind", "sample"],
    "sweep": ["modality", "peak_lr"],
}


def checked(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame in order, with its columns even when it is empty.  Raises ValueError naming it."""
    columns = COLUMNS[name]
    if frame.empty:
        return pd.DataFrame(columns=list(columns))
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise ValueError(f"report: the frame {name} lacks {absent}; it must have {columns}")
    figures = [column for column in frame.columns if column in FIGURES]
    frame = frame.assign(**{column: pd.to_numeric(frame[column]) for column in figures})
    for column in set(columns) - FIGURES - INTEGERS:
        frame[column] = frame[column].where(frame[column].notna(), "")
    _refuse(name, frame)
    others = sorted(set(frame.columns) - set(columns))
    keys = [c for c in (*columns, *others) if c in INTEGERS or _sortable(frame[c])]
    return frame.sort_values(keys, key=_ranks, kind="stable").reset_index(drop=True)


def _refuse(name: str, frame: pd.DataFrame) -> None:
    """Raise ValueError for figures and rows that cannot be true."""
    if name in PERCENT_FRAMES:
        bad = frame["accuracy"].dropna()
        bad = bad[(bad < 0) | (bad > 100)]
        if len(bad):
            raise ValueError(f"report: {name} has an accuracy of {bad.iloc[0]}, not in 0..100 %")
    if name == "table4" and frame["accuracy"].max() <= 1:
        raise ValueError("report: table4 has accuracies of at most 1: give percent, not shares")
    doubled = frame[frame.duplicated(UNIQUE[name])] if name in UNIQUE else frame.iloc[:0]
    if len(doubled):
        row = doubled.iloc[0][UNIQUE[name]].to_dict()
        raise ValueError(f"report: {name} has more than one row for {row}; keep one of them")


def _ranks(column: pd.Series) -> pd.Series:
    ranks: dict[str, Callable[[str], tuple[Any, str]]] = {
        "modality": modality_rank,
        "baseline": modality_rank,
        "task": task_rank,
        "band": band_rank,
    }
    by = ranks.get(str(column.name))
    return column if by is None else column.map(by).rank(method="dense")


def _sortable(column: pd.Series) -> bool:
    """Keys are names and counts; figures are not, and must not break ties between rows."""
    return bool(column.map(lambda v: isinstance(v, str | bool | int | np.integer)).all())


def modality_rank(name: str) -> tuple[int, str]:
    """The paper's order; then speech modalities, then others, by name."""
    if name in MODALITIES:
        return MODALITIES.index(name), name
    return len(MODALITIES) + (not name.startswith("speech")), name


def task_rank(name: str) -> tuple[int, str]:
    """Lexicon, syntax, semantics, then others by name."""
    known = list(TASK_TITLES)
    return (known.index(name) if name in known else len(known)), name


def band_rank(name: str) -> tuple[float, str]:
    """By the first number in the name (">100" after "21-100"); without a number, first."""
    found = re.search(r"\d+(\.\d+)?", name)
    return (float(found[0]) + 0.5 * (">" in name) if found else -1.0), name
