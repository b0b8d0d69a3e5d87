"""Perplexities of continuations per modality, clustered by prompt, and what each factor does.

The unit of evidence is the prompt: its samples share words and topic.  Intervals are of the mean
log-perplexity over prompts, by the rule of all intervals here (clusters and seeds), and shown as
geometric means.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ray_slm.evaluation.clusters import Panel
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.intervals import linear_interval

GENERATED, RECORDED = "generated", "recorded"
SCOPES = {"continuation": ("nats", "judge_tokens"), "whole": ("whole_nats", "whole_tokens")}
COUNTS = ["num_prompts", "num_samples", "num_empty", "num_repetitive", "num_unended"]


def log_perplexity(frame: pd.DataFrame, prefix: str = "", scope: str = "continuation") -> pd.Series:
    """Nats per token of the judge; NaN where there is nothing to judge.

    ``prefix`` "written_" is the modality's own text, "" what was heard; ``scope`` "whole"
    counts the prompt as well.
    """
    nats, tokens = (f"{prefix}{name}" for name in SCOPES[scope])
    own = frame[f"{prefix}judge_tokens"] > 0
    logs: pd.Series = frame[nats] / frame[tokens].where(own)
    return logs


def continuation_table(samples: pd.DataFrame) -> pd.DataFrame:
    """One row per modality: the paper's columns and those that do not hang on outliers.

    Args:
        samples: columns modality, seed, prompt, kind, sample, ended, transcript, repetitive,
            nats, judge_tokens, whole_nats, whole_tokens, errors, words; written_* optionally.

    Returns:
        modality, mean, std, median (of perplexities over samples), geometric, low, high
        (95 %, clustered by prompt), whole (geometric, with the prompt), own_text (geometric, of
        what the modality wrote itself), real (geometric, of what really followed, through the same
        chain), wer (percent, of the chain on it), num_words; the counts; num_seeds, note.
    """
    rows = [
        {"modality": modality, **_figures(frame)}
        for modality, frame in samples.groupby("modality", sort=True)
    ]
    return pd.DataFrame(rows)


def perplexity_contrasts(samples: pd.DataFrame, contrasts: Sequence[Contrast]) -> pd.DataFrame:
    """Geometric perplexity of the modality over that of the baseline, paired by prompt.

    Exploratory: not among the contrasts that Holm's correction counts.

    Returns: factor, baseline, modality, ratio, low, high, p, num_prompts, note.
    """
    made, rows = samples[samples["kind"] == GENERATED], []
    for contrast in contrasts:
        sides = [_by_prompt(made, name) for name in (contrast.modality, contrast.baseline)]
        if any(side.empty for side in sides):
            continue
        shared = sides[0].index.intersection(sides[1].index)
        names = (contrast.factor, contrast.baseline, contrast.modality)
        if shared.empty:
            rows.append((*names, *[np.nan] * 4, 0, "no prompt was continued by both"))
            continue
        panels = [_panel(side.loc[shared]) for side in sides]
        found = linear_interval(panels, [1.0, -1.0])
        figures = np.exp([found.estimate, found.low, found.high])
        rows.append((*names, *figures, found.p, len(shared), found.note))
    columns = ["factor", "baseline", "modality", "ratio", "low", "high", "p", "num_prompts", "note"]
    return pd.DataFrame(rows, columns=columns)


def _figures(frame: pd.DataFrame) -> dict[str, object]:
    made, recorded = (frame[frame["kind"] == kind] for kind in (GENERATED, RECORDED))
    logs = log_perplexity(made).dropna()
    perplexities = np.exp(logs)
    by_prompt = _by_prompt(made, str(frame["modality"].iloc[0]))
    low = high = np.nan
    note = "nothing to judge" if by_prompt.empty else ""
    if len(by_prompt):
        found = linear_interval([_panel(by_prompt)], [1.0])
        # No perplexity is below 1: the interval of a few prompts may reach beyond.
        low, high, note = *np.exp([max(0.0, found.low), found.high]), found.note
    words = int(recorded["words"].sum())
    return {
        "mean": perplexities.mean(),
        "std": perplexities.std(),
        "median": perplexities.median(),
        "geometric": np.exp(by_prompt.to_numpy().mean()) if len(by_prompt) else np.nan,
        "low": low,
        "high": high,
        "whole": np.exp(log_perplexity(made, scope="whole").mean()),
        "own_text": _written(made),
        "real": np.exp(log_perplexity(recorded).mean()),
        "wer": 100 * float(recorded["errors"].sum()) / words if words else np.nan,
        "num_words": words,
        "num_prompts": made["prompt"].nunique(),
        "num_samples": len(made),
        "num_empty": int((made["judge_tokens"] == 0).sum()),
        "num_repetitive": int(made["repetitive"].astype(bool).sum()),
        "num_unended": int((~made["ended"].astype(bool)).sum()),
        "num_seeds": made["seed"].nunique(),
        "note": note,
    }


def _written(made: pd.DataFrame) -> float:
    """Of the text that a writing modality wrote, before it was spoken and heard."""
    if "written_nats" not in made.columns or made["written_nats"].isna().all():
        return float("nan")
    return float(np.exp(log_perplexity(made, "written_").mean()))


def _by_prompt(made: pd.DataFrame, modality: str) -> pd.DataFrame:
    """Mean log-perplexity by prompt (rows) and seed of training (columns), complete rows only."""
    own = made[made["modality"] == modality]
    logs = log_perplexity(own).rename("log")
    means = logs.groupby([own["prompt"], own["seed"]]).mean().unstack("seed")
    return means.dropna()


def _panel(by_prompt: pd.DataFrame) -> Panel:
    """Every prompt is a cluster of one."""
    return Panel(by_prompt.to_numpy(dtype=np.float64).T, np.ones(len(by_prompt)))
