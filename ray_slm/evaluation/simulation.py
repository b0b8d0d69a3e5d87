"""Studies with a known answer, to see whether an interval covers it as often as it claims.

Log-odds of a right decision are a sum of cluster, item and seed effects, all normal; clusters
also differ in how much the factor harms them.  Legend: R studies, S seeds, C clusters, I items.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy import special

from ray_slm.evaluation.clusters import Panel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """A contrast to simulate; the defaults have the size of sBLIMP's dev set.  Sds in logits."""

    num_seeds: int = 3
    num_clusters: int = 63
    items_per_cluster: int = 100
    seed_sd: float = 0.05
    cluster_sd: float = 0.8
    item_sd: float = 1.0
    harm_sd: float = 0.15  # between clusters, of the factor's effect
    baseline: float = 1.0
    harm: float = -0.4


class Studies(NamedTuple):
    """Simulated studies; the panels' sums are (R, S, C)."""

    baseline: Panel
    modality: Panel


def simulate(design: Design, num_studies: int, *, seed: int = 0) -> Studies:
    """Draw studies of one design; both modalities judge the same items."""
    rng = np.random.default_rng(seed)
    shape_RSC = (num_studies, design.num_seeds, design.num_clusters)
    sums = np.empty((2, *shape_RSC))
    for study in range(num_studies):
        drawn = (design.num_clusters, design.items_per_cluster)
        logits_CI = design.baseline + rng.normal(0, design.item_sd, drawn)
        logits_CI += rng.normal(0, design.cluster_sd, (drawn[0], 1))
        harm_C1 = design.harm + rng.normal(0, design.harm_sd, (drawn[0], 1))
        for side, shift in enumerate((np.zeros(1), harm_C1)):
            seed_S11 = rng.normal(0, design.seed_sd, (design.num_seeds, 1, 1))
            chance_SCI = special.expit(logits_CI + shift + seed_S11)
            sums[side, study] = (rng.random(chance_SCI.shape) < chance_SCI).sum(-1)
    sizes_C = np.full(design.num_clusters, float(design.items_per_cluster))
    return Studies(Panel(sums[0], sizes_C), Panel(sums[1], sizes_C))


def true_difference(design: Design) -> float:
    """Modality minus baseline, as a fraction, over all clusters, items and seeds there could be."""
    common = design.seed_sd**2 + design.cluster_sd**2 + design.item_sd**2
    modality = _mean_accuracy(design.baseline + design.harm, common + design.harm_sd**2)
    return modality - _mean_accuracy(design.baseline, common)


def _mean_accuracy(logit: float, variance: float) -> float:
    """The mean of a logistic-normal variable, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    chances = special.expit(logit + np.sqrt(variance) * nodes)
    return float(weights @ chances / weights.sum())
