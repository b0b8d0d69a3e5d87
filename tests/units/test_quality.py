import numpy as np
import pytest
from sklearn.metrics import homogeneity_score

from ray_slm.units.quality import changes_per_frame, dependence, usage


def test_units_that_are_the_labels_tell_everything():
    labels = np.array(list("aabbccdd"))
    found = dependence(np.array([3, 3, 1, 1, 0, 0, 7, 7]), labels)
    assert found == pytest.approx((1.0, 1.0))


def test_units_that_are_always_the_same_tell_nothing():
    found = dependence(np.zeros(8, int), np.array(list("aaabbccd")))
    assert found == pytest.approx((0.0, 3 / 8))


def test_a_single_label_leaves_nothing_to_tell():
    assert dependence(np.arange(4), np.array(["a"] * 4)) == (0.0, 1.0)


def test_information_equals_an_independent_implementation():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 3_000)
    units = np.where(rng.random(3_000) < 0.6, labels * 3, rng.integers(0, 30, 3_000))
    found = dependence(units, labels)
    assert found.normalized_information == pytest.approx(homogeneity_score(labels, units))
    assert 0.6 < found.purity < 0.9


def test_usage_is_one_when_even_and_counts_what_is_never_used():
    assert usage(np.arange(100) % 10, 10) == pytest.approx((1.0, 0.0))
    found = usage(np.arange(100) % 5, 10)
    assert found == pytest.approx((np.log(5) / np.log(10), 0.5))
    assert usage(np.zeros(10, int), 10).entropy == 0


def test_changes_are_counted_inside_utterances_only():
    units = np.array([1, 1, 2, 2, 5, 5, 5, 6])
    assert changes_per_frame(units, np.array([0, 4])) == pytest.approx(2 / 6)
    assert changes_per_frame(units, np.array([0])) == pytest.approx(3 / 7)
    assert changes_per_frame(units[:1], np.array([0])) == 0
