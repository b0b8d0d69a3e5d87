"""Scoring conventions: how one number per item is made of what is stored about it.

Published scorers differ (sum or mean, with or without the end), and the choice alone can flip
many decisions, so the stored parts are kept and every convention is printed beside the default.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

DEFAULT_CONVENTION = "mean"
DEFAULT_PARTS = ("logp_sum", "num_tokens")  # all that it is made of
PER_SECOND = "per_second"
TIE = 0.5

_FORMULAS: dict[str, Callable[[Any], Any]] = {
    "mean": lambda s: s["logp_sum"] / s["num_tokens"],
    "sum": lambda s: s["logp_sum"],
    "sum_eos": lambda s: s["logp_sum"] + s["logp_eos"],
    "mean_eos": lambda s: (s["logp_sum"] + s["logp_eos"]) / (s["num_tokens"] + 1),
    "no_first": lambda s: s["logp_sum"] - s["logp_first"],
    PER_SECOND: lambda s: s["logp_sum"] / s["seconds"],
}
CONVENTIONS: tuple[str, ...] = tuple(_FORMULAS)


def derive(scores: pd.DataFrame | Mapping[str, np.ndarray], convention: str) -> np.ndarray:
    """One float64 per row of a scores table, higher is likelier; S, F, E, N as stored.

    mean = S/N, sum = S, sum_eos = S+E, mean_eos = (S+E)/(N+1), no_first = S-F and
    per_second = S/seconds.  Raises ValueError for another name.
    """
    if convention not in _FORMULAS:
        raise ValueError(f"no scoring convention {convention!r}: use one of {CONVENTIONS}")
    return np.asarray(_FORMULAS[convention](scores), dtype=np.float64)


def prefers(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """1 where the positive item scores higher, 0 where the negative one does, 0.5 on a tie."""
    return np.where(positive == negative, TIE, (positive > negative).astype(np.float64))


def flip_table(pair_scores: pd.DataFrame) -> pd.DataFrame:
    """How many pairs each convention judges unlike the default one does.

    Args:
        pair_scores: see ``ray_slm.evaluation.pair_scores``; each run's last checkpoint and the
            final layer are counted, all seeds together.

    Returns:
        modality, task, convention, num_flipped, num_decisions, flipped (percent).  A decision is
        a pair in one seed, its voices averaged already.
    """
    from ray_slm.evaluation.pair_scores import final_layer, last_checkpoint

    frame = final_layer(last_checkpoint(pair_scores))
    keys = ["modality", "task", "seed", "pair"]
    wide = frame.pivot(index=keys, columns="convention", values="correct")
    default = wide[DEFAULT_CONVENTION]
    rows = []
    for convention in (c for c in CONVENTIONS if c in wide.columns and c != DEFAULT_CONVENTION):
        known = wide[convention].dropna()
        flips = (known != default.loc[known.index]).groupby(level=["modality", "task"])
        counts = flips.agg(["sum", "size"]).reset_index()
        for modality, task, flipped, size in counts.itertuples(index=False):
            rows.append((modality, task, convention, int(flipped), int(size), 100 * flipped / size))
    columns = ["modality", "task", "convention", "num_flipped", "num_decisions", "flipped"]
    return pd.DataFrame(rows, columns=columns)
