"""The frame that every table and figure is computed from, and the views of it that they share.

``pair_scores`` has one row per modality, seed, checkpoint, task, pair, layer and convention, with
columns modality (str), seed (int), tokens (int, trained so far), task, pair, cluster, type,
subtype, band (str), layer (int, 0 = embedding), convention (str), correct (float in [0, 1], the
mean over the pair's voices).  ``ray_slm.evaluation.pairs.decide`` makes it, one evaluation at a
time; the caller adds modality, seed, tokens and task.
"""

import pandas as pd

from ray_slm.evaluation.conventions import DEFAULT_CONVENTION

COLUMNS = (
    "modality",
    "seed",
    "tokens",
    "task",
    "pair",
    "cluster",
    "type",
    "subtype",
    "band",
    "layer",
    "convention",
    "correct",
)


def check(pair_scores: pd.DataFrame) -> None:
    """Raise ValueError where the frame lacks a column, is empty, or holds an impossible score."""
    absent = [column for column in COLUMNS if column not in pair_scores.columns]
    if absent:
        raise ValueError(
            f"pair_scores lacks the columns {absent}: it must have {', '.join(COLUMNS)}"
        )
    if pair_scores.empty:
        raise ValueError("pair_scores is empty: evaluate at least one checkpoint first")
    bad = pair_scores[~pair_scores["correct"].between(0.0, 1.0)]
    if len(bad):
        first = bad.iloc[0]
        raise ValueError(
            f"pair_scores: correct is {first['correct']} for pair {first['pair']!r} of "
            f"{first['task']}/{first['modality']}, and {len(bad)} rows are outside [0, 1] in all; "
            "evaluate this task again"
        )


def default_convention(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the default scoring convention."""
    return pair_scores[pair_scores["convention"] == DEFAULT_CONVENTION]


def final_layer(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each modality's last layer, which is what the model itself says."""
    last = pair_scores.groupby("modality", observed=True)["layer"].transform("max")
    return pair_scores[pair_scores["layer"] == last]


def last_checkpoint(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's largest budget: a rule fixed beforehand, never the best on test.

    Budgets follow from hours of audio, so this is the view at equal audio; for others see
    ``ray_slm.evaluation.budgets``.
    """
    keys = ["modality", "seed"]
    last = pair_scores.groupby(keys, observed=True)["tokens"].transform("max")
    return pair_scores[pair_scores["tokens"] == last]


def headline(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """Default convention, final layer, last checkpoint: what the main tables are made of."""
    check(pair_scores)
    return default_convention(final_layer(last_checkpoint(pair_scores)))
