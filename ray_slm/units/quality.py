"""How well units name phones, how much they tell of the speaker, and how they are used.

Phone-normalized mutual information and purity are those of HuBERT (Hsu et al., 2021, section
4.3).  All figures grow with the number of units and shrink with the number of frames: compare
them at equal size only.  Legend: N frames, K units.
"""

from typing import NamedTuple

import numpy as np


class Dependence(NamedTuple):
    """Of units on labels: MI / H(label), and the share of frames whose unit's label is theirs."""

    normalized_information: float
    purity: float


def dependence(units_N: np.ndarray, labels_N: np.ndarray) -> Dependence:
    """What units tell about labels; both may be of any type with an order.

    The information is 1 when the unit determines the label, 0 when it tells nothing; where there
    is one label only, nothing is to be told and it is 0.
    """
    assert len(units_N) == len(labels_N) > 0, "one label per frame"
    units, rows = np.unique(units_N, return_inverse=True)
    labels, columns = np.unique(labels_N, return_inverse=True)
    counts = np.bincount(rows * len(labels) + columns, minlength=len(units) * len(labels))
    joint = counts.reshape(len(units), len(labels)) / len(units_N)
    purity = float(joint.max(axis=1).sum())
    label_entropy = _entropy(joint.sum(axis=0))
    if label_entropy == 0:
        return Dependence(0.0, purity)
    information = _entropy(joint.sum(axis=1)) + label_entropy - _entropy(joint.ravel())
    return Dependence(max(information, 0.0) / label_entropy, purity)


class Usage(NamedTuple):
    """How evenly a codebook is used: entropy / log K (1 = evenly), and the share never used."""

    entropy: float
    unused_share: float


def usage(units_N: np.ndarray, num_units: int) -> Usage:
    """The usage of a codebook of ``num_units`` units."""
    counts_K = np.bincount(units_N, minlength=num_units)
    entropy = _entropy(counts_K / counts_K.sum()) / np.log(num_units) if num_units > 1 else 1.0
    return Usage(float(entropy), float((counts_K == 0).mean()))


def changes_per_frame(units_N: np.ndarray, starts: np.ndarray) -> float:
    """The share of frames whose unit differs from the one before, in the same utterance.

    ``starts`` are the positions of the utterances' first frames.
    """
    changed = units_N[1:] != units_N[:-1]
    inside = np.ones(len(changed), dtype=bool)
    inside[starts[starts > 0] - 1] = False
    return float(changed[inside].mean()) if inside.any() else 0.0


def _entropy(probabilities: np.ndarray) -> float:
    some = probabilities[probabilities > 0]
    return float(-(some * np.log(some)).sum())
