"""Decisions summed per seed and cluster: all that the variance of an accuracy needs.

The unit of evidence is the pair (voices averaged already), and pairs of one cluster (a word, a
subtype, a story) are not independent.  Legend: S seeds, C clusters, P pairs.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd


class Panel(NamedTuple):
    """One modality on one task.  Every seed judged the same pairs.

    Leading dimensions before S and C are allowed in the arrays: simulations use them.
    """

    sums_SC: np.ndarray  # correct decisions, summed over the pairs of a cluster
    sizes_C: np.ndarray  # pairs in each cluster

    @property
    def num_seeds(self) -> int:
        """S."""
        return int(self.sums_SC.shape[-2])

    @property
    def num_clusters(self) -> int:
        """C."""
        return int(self.sizes_C.shape[-1])

    @property
    def num_pairs(self) -> int:
        """P, of one seed."""
        return int(self.sizes_C.sum())

    @property
    def accuracy_S(self) -> np.ndarray:
        """Share of right decisions of each seed, in [0, 1]."""
        return np.asarray(self.sums_SC.sum(-1) / self.sizes_C.sum())

    @property
    def accuracy(self) -> np.ndarray:
        """Mean over seeds, in [0, 1]."""
        return np.asarray(self.accuracy_S.mean(-1))


def panel(frame: pd.DataFrame) -> Panel:
    """The panel of one modality on one task.

    Args:
        frame: columns seed, pair, cluster, correct; one row per seed and pair.

    Raises:
        ValueError: when a pair is doubled, lacks a seed, or stands in two clusters.
    """
    return panels([frame])[0]


def panels(frames: list[pd.DataFrame]) -> list[Panel]:
    """Panels over the same pairs in the same order, so that contrasts are paired by item.

    Raises ValueError, naming pairs, when the frames do not hold the same pairs and clusters.
    """
    tables = [_table(frame) for frame in frames]
    first = tables[0]
    for table, frame in zip(tables[1:], frames[1:], strict=True):
        differing = first.index.symmetric_difference(table.index)
        if len(differing):
            raise ValueError(
                f"{_where(frames[0])} and {_where(frame)} were not judged on the same pairs and "
                f"clusters: {len(differing)} differ, e.g. {list(differing[:3])}; pass the union "
                "of quarantined items to pairs.decide"
            )
    codes_P, clusters = pd.factorize(first.index.get_level_values("cluster"))
    sizes_C = np.bincount(codes_P).astype(np.float64)
    made = []
    for table in tables:
        values_SP = table.to_numpy(dtype=np.float64).T
        sums_SC = np.stack([np.bincount(codes_P, row, len(clusters)) for row in values_SP])
        made.append(Panel(sums_SC, sizes_C))
    return made


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    """Pairs by seeds, sorted by (pair, cluster)."""
    doubled = frame.duplicated(["seed", "pair"])
    if doubled.any():
        raise ValueError(
            f"{_where(frame)}: pair {frame['pair'][doubled].iloc[0]!r} stands more than once for "
            "a seed; select one layer, convention, checkpoint and task first"
        )
    keys = frame["pair"].astype(str), frame["cluster"].astype(str)
    table = frame["correct"].groupby([frame["seed"], *keys]).first().unstack("seed").sort_index()
    if table.isna().any(axis=None):
        lacking = table.index[table.isna().any(axis=1)][0]
        raise ValueError(
            f"{_where(frame)}: pair {lacking[0]!r} is not judged in every seed in the same "
            "cluster; evaluate the task again for all seeds"
        )
    return table


def _where(frame: pd.DataFrame) -> str:
    """Modality and task of a frame, as far as it knows them."""
    known = [str(frame[c].iloc[0]) for c in ("modality", "task") if c in frame and len(frame)]
    return "/".join(known) or "the frame"
