"""Checks that the scorer itself is sound, run on the very items it is about to judge.

An oracle must get 100 %, its negation 0 %, a constant 50 %, and the order of rows must not
matter; labels swapped by coin must end near 50 %.
"""

import functools
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import pandas as pd

from ray_slm.evaluation.conventions import CONVENTIONS
from ray_slm.evaluation.pairs import decide


class SelfTest(NamedTuple):
    """Accuracies in percent, the same under every convention, and whether order mattered."""

    oracle: float
    negated: float
    constant: float
    unchanged_by_shuffling: bool

    @property
    def passed(self) -> bool:
        """Whether the scorer did what it must."""
        return self == SelfTest(100.0, 0.0, 50.0, True)


def self_test(
    pairs: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    quarantined: Collection[str] = (),
    seed: int = 0,
) -> SelfTest:
    """Run the four checks with the ids of ``scores`` (columns as for ``pairs.decide``).

    Raises ValueError where the join refuses, as ``decide`` does.
    """
    final = scores[scores["layer"] == scores["layer"].max()]
    is_positive = final["utterance"].str.rsplit(".", n=2).str[1] == "positive"
    side = np.where(is_positive, 1.0, -1.0)
    rng = np.random.default_rng(seed)
    shuffled = final.iloc[rng.permutation(len(final))]
    judge = functools.partial(decide, pairs, quarantined=quarantined)
    before, after = judge(final), judge(shuffled)
    return SelfTest(
        oracle=_accuracy(judge, final, side),
        negated=_accuracy(judge, final, -side),
        constant=_accuracy(judge, final, 0.0 * side),
        unchanged_by_shuffling=before.equals(after),
    )


def _accuracy(
    judge: Callable[[pd.DataFrame], pd.DataFrame], scores: pd.DataFrame, value: np.ndarray
) -> float:
    """Percent right when every item's score is ``value``; conventions must agree."""
    made = scores.assign(logp_sum=value, logp_first=0.0, logp_eos=0.0, num_tokens=1, seconds=1.0)
    by_convention = judge(made).groupby("convention")["correct"].mean()
    assert set(by_convention.index) == set(CONVENTIONS)
    assert by_convention.nunique() == 1, f"conventions disagree: {by_convention.to_dict()}"
    return 100.0 * float(by_convention.iloc[0])


def shuffled_labels(pair_scores: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """The same frame with the sides of each pair swapped by a fair coin: accuracy near 50 %.

    A pair's coin falls once for all of its rows, so that the control keeps the dependence
    between layers, conventions and seeds.
    """
    coin = np.random.default_rng(seed)
    keys = pair_scores["task"].astype(str) + "/" + pair_scores["pair"].astype(str)
    codes, names = pd.factorize(keys, sort=True)
    swap = coin.random(len(names)) < 0.5
    correct = pair_scores["correct"].to_numpy(dtype=np.float64)
    return pair_scores.assign(correct=np.where(swap[codes], 1.0 - correct, correct))
