import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.versus import UNPAIRED, Judged, accuracies, effects
from tests.evaluation.frames import decisions

B = Contrast(factor="B", baseline="raw", modality="repeat")


def judged(frame, version=0):
    pairs = frame[["task", "pair"]].drop_duplicates()
    return Judged(frame, pairs.assign(positive=f"p{version}", negative=pairs["pair"]))


def study(draw, level=0.7, **options):
    made = [
        decisions(name, level - harm, draw=draw, **options)
        for name, harm in (("raw", 0.0), ("repeat", 0.1))
    ]
    return pd.concat(made, ignore_index=True)


def test_a_study_does_not_differ_from_itself():
    one = judged(study(1))
    found = accuracies(one, one)
    assert set(found["modality"]) == {"raw", "repeat"}
    assert (found["points"] == 0).all()
    assert (found["num_shared"] == 300).all()


def test_shared_items_pair_the_difference():
    """Two studies of one seed that differ in a few decisions on the same items."""
    first = decisions("raw", 0.7, seeds=(0,), num_clusters=300)
    second = first.copy()
    worse = second["pair"].isin([f"p{i:04d}" for i in range(10)])
    second.loc[worse, "correct"] = 0.0
    (row,) = accuracies(judged(first), judged(second)).to_dict("records")
    ours = [
        f[(f["layer"] == 2) & (f["convention"] == "mean")].sort_values("pair")["correct"]
        for f in (first, second)
    ]
    expected = stats.ttest_rel(ours[1].to_numpy(), ours[0].to_numpy())
    low, high = expected.confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((100 * low, 100 * high))
    (apart,) = accuracies(judged(first), judged(second, version=1)).to_dict("records")
    assert apart["points"] == pytest.approx(row["points"])
    assert apart["num_shared"] == 0
    assert apart["note"] == UNPAIRED
    assert apart["high"] - apart["low"] > 2 * (row["high"] - row["low"])


def test_other_items_are_compared_as_welch_does():
    one = decisions("raw", 0.7, seeds=(0,), num_clusters=300, draw=1)
    other = decisions("raw", 0.6, seeds=(0,), num_clusters=300, draw=2)
    (row,) = accuracies(judged(one), judged(other, version=1)).to_dict("records")
    ours = [f[(f["layer"] == 2) & (f["convention"] == "mean")]["correct"] for f in (one, other)]
    welch = stats.ttest_ind(ours[1], ours[0], equal_var=False)
    low, high = welch.confidence_interval()
    assert (row["low"], row["high"], row["p"]) == pytest.approx(
        (100 * low, 100 * high, welch.pvalue), rel=1e-6
    )


def test_only_items_that_both_judged_count():
    first, second = study(1), study(2)
    second = second[second["pair"] < "p0200"]
    found = accuracies(judged(first), judged(second))
    assert (found["num_shared"] == 200).all()


def test_effects_are_differences_of_effects():
    first, second = study(1), study(2)
    (row,) = effects(judged(first), judged(second), [B]).to_dict("records")
    by_name = accuracies(judged(first), judged(second)).set_index("modality")
    assert row["points"] == pytest.approx(
        by_name.loc["repeat", "points"] - by_name.loc["raw", "points"]
    )
    assert row["points"] == pytest.approx(row["second"] - row["first"])
    assert row["low"] < row["points"] < row["high"]
    (apart,) = effects(judged(first), judged(second, 1), [B]).to_dict("records")
    assert apart["note"] == UNPAIRED
    assert np.isfinite(apart["low"])


def test_what_only_one_study_has_is_left_out():
    first = study(1)
    second = first[first["modality"] == "raw"]
    assert list(accuracies(judged(first), judged(second))["modality"]) == ["raw"]
    assert effects(judged(first), judged(second), [B]).empty
