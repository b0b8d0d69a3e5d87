"""Accuracies with intervals, set out by convention, layer, band and checkpoint for the report.

All functions read the frame that ``ray_slm.evaluation.pair_scores`` documents and return plain
frames in percent.  ``note`` says when an interval holds item noise alone or cannot be had.
"""

import pandas as pd

from ray_slm.evaluation.clusters import panel
from ray_slm.evaluation.conventions import DEFAULT_CONVENTION
from ray_slm.evaluation.intervals import accuracy_interval
from ray_slm.evaluation.pair_scores import (
    check,
    default_convention,
    final_layer,
    headline,
    last_checkpoint,
)

NO_SKILL = "no skill above chance"
_FIGURES = ["accuracy", "low", "high", "num_pairs", "num_clusters", "num_seeds", "note"]


def accuracy_table(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """Table 4: each modality on each task under every convention, at the last checkpoint.

    Returns:
        modality, task, convention, default (bool), accuracy, low, high (percent, 95 % interval
        from clusters and seeds), num_pairs, num_clusters, num_seeds, note.
    """
    check(pair_scores)
    frame = final_layer(last_checkpoint(pair_scores))
    table = _by(frame, ["modality", "task", "convention"])
    table.insert(3, "default", table["convention"] == DEFAULT_CONVENTION)
    return table


def layer_table(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every layer (0 = embedding), default convention, last checkpoint.

    Returns: modality, task, layer, accuracy, low, high, num_pairs, num_clusters, num_seeds, note.
    """
    check(pair_scores)
    frame = default_convention(last_checkpoint(pair_scores))
    return _by(frame, ["modality", "task", "layer"])


def half_skill_table(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """The first layer (0 = embedding) that reaches half of the final layer's skill above 50 %.

    Returns: modality, task, layer (NaN where the final layer's interval reaches down to 50 %: no
    skill to take half of), final, half (percent), note.
    """
    rows = []
    for (modality, task), layers in layer_table(pair_scores).groupby(
        ["modality", "task"], observed=True
    ):
        ordered = layers.sort_values("layer")
        last = ordered.iloc[-1]
        half = 50 + (last["accuracy"] - 50) / 2
        if not last["low"] > 50:
            rows.append((modality, task, float("nan"), last["accuracy"], half, NO_SKILL))
            continue
        layer = ordered.loc[ordered["accuracy"] >= half, "layer"].min()
        rows.append((modality, task, float(layer), last["accuracy"], half, ""))
    return pd.DataFrame(rows, columns=["modality", "task", "layer", "final", "half", "note"])


def checkpoint_table(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every checkpoint of every run, default convention, final layer.

    Returns: modality, task, seed, tokens, accuracy, low, high (item noise only, being one seed),
    num_pairs, num_clusters, num_seeds, note.
    """
    check(pair_scores)
    frame = default_convention(final_layer(pair_scores))
    return _by(frame, ["modality", "task", "seed", "tokens"])


def band_table(pair_scores: pd.DataFrame, *, by: str = "band") -> pd.DataFrame:
    """Accuracy within each frequency band, or by type or subtype; pairs without one are left out.

    Pairs are their own clusters where a group has only one cluster.

    Returns: modality, task, <by>, accuracy, low, high, num_pairs, num_clusters, num_seeds, note.
    """
    frame = headline(pair_scores)
    frame = frame[frame[by].astype(str) != ""]
    clusters = frame.groupby(["modality", "task", by], observed=True)["cluster"].transform(
        "nunique"
    )
    own = frame["cluster"].astype(str).where(clusters > 1, frame["pair"].astype(str))
    return _by(frame.assign(cluster=own), ["modality", "task", by])


def _by(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row of figures per group of the frame."""
    rows = []
    for values, group in frame.groupby(keys, observed=True):
        found = panel(group)
        interval = accuracy_interval(found)
        percent = [100 * x for x in (interval.estimate, interval.low, interval.high)]
        counts = (found.num_pairs, found.num_clusters, found.num_seeds)
        rows.append((*values, *percent, *counts, interval.note))
    return pd.DataFrame(rows, columns=[*keys, *_FIGURES])
