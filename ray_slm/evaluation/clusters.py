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
        differing = [] if table.same_pairs(first) else sorted(table.keys() ^ first.keys())
        if differing:
            raise ValueError(
                f"{_where(frames[0])} and {_where(frame)} were not judged on the same pairs and "
                f"clusters: {len(differing)} differ, e.g. {differing[:3]}; pass the union "
                "of quarantined items to pairs.decide"
            )
    codes_P, clusters = pd.factorize(first.clusters_P)
    sizes_C = np.bincount(codes_P).astype(np.float64)
    made = []
    for table in tables:
        sums_SC = np.stack([np.bincount(codes_P, row, len(clusters)) for row in table.values_SP])
        made.append(Panel(sums_SC, sizes_C))
    return made


class _Table(NamedTuple):
    """Decisions of seeds, pairs in order of id, and the cluster of each pair."""

    pairs_P: np.ndarray
    clusters_P: np.ndarray
    values_SP: np.ndarray

    def same_pairs(self, other: "_Table") -> bool:
        return np.array_equal(self.pairs_P, other.pairs_P) and np.array_equal(
            self.clusters_P, other.clusters_P
        )

    def keys(self) -> set[tuple[str, str]]:
        return set(zip(self.pairs_P.tolist(), self.clusters_P.tolist(), strict=True))


def _table(frame: pd.DataFrame) -> _Table:
    seed_codes, seeds = pd.factorize(frame["seed"], sort=True)
    pair_codes, pairs = _codes(frame["pair"])
    shape = len(seeds), len(pairs)
    counts_SP = np.bincount(seed_codes * shape[1] + pair_codes, minlength=shape[0] * shape[1])
    counts_SP = counts_SP.reshape(shape)
    if counts_SP.max(initial=0) > 1:
        doubled = pairs[np.argwhere(counts_SP > 1)[0, 1]]
        raise ValueError(
            f"{_where(frame)}: pair {doubled!r} stands more than once for "
            "a seed; select one layer, convention, checkpoint and task first"
        )
    codes, clusters = _codes(frame["cluster"])
    cluster_P = np.empty(len(pairs), dtype=np.int64)
    cluster_P[pair_codes] = codes
    astray_P = (counts_SP == 0).any(axis=0)
    astray_P[pair_codes[cluster_P[pair_codes] != codes]] = True
    if astray_P.any():
        raise ValueError(
            f"{_where(frame)}: pair {pairs[astray_P][0]!r} is not judged in every seed in the "
            "same cluster; evaluate the task again for all seeds"
        )
    values_SP = np.empty(shape)
    values_SP[seed_codes, pair_codes] = frame["correct"]
    return _Table(pairs, clusters[cluster_P], values_SP)


def _codes(names: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A number for each name, in order of the names, and the names; quick for categories."""
    if not isinstance(names.dtype, pd.CategoricalDtype):
        names = names.astype("category")
    used, codes = np.unique(names.cat.codes.to_numpy(), return_inverse=True)
    found = names.cat.categories[used].astype(str).to_numpy(dtype=object)
    order = np.argsort(found)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[codes], found[order]


def _where(frame: pd.DataFrame) -> str:
    """Modality and task of a frame, as far as it knows them."""
    known = [str(frame[c].iloc[0]) for c in ("modality", "task") if c in frame and len(frame)]
    return "/".join(known) or "the frame"
