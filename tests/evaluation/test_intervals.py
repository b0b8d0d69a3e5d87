import dataclasses

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ray_slm.evaluation.clusters import Panel, panel, panels
from ray_slm.evaluation.intervals import (
    EXACT,
    ITEM_NOISE,
    NO_VARIANCE,
    ONE_CLUSTER,
    ONE_SIDED,
    SEEN,
    TWO_SEEDS,
    accuracy_interval,
    bootstrap,
    half_width,
    linear_interval,
    moments,
    percentiles,
)
from ray_slm.evaluation.simulation import Design, simulate, true_difference
from tests.evaluation.frames import decisions, exactly, panel_of

DIFFERENCE = (1.0, -1.0)


def seeds_only(accuracy_S):
    """A panel whose clusters all agree: nothing but seeds varies."""
    sizes_C = np.full(8, 50.0)
    return Panel(np.array(accuracy_S)[:, None] * sizes_C, sizes_C)


def coin_flips(seed, num_seeds=1, num_pairs=120, chance=0.6):
    return (np.random.default_rng(seed).random((num_seeds, num_pairs)) < chance).astype(float)


def test_without_cluster_noise_it_is_welch():
    one, other = [0.71, 0.74, 0.70, 0.76], [0.66, 0.65, 0.69]
    found = linear_interval([seeds_only(one), seeds_only(other)], DIFFERENCE)
    welch = stats.ttest_ind(one, other, equal_var=False)
    low, high = welch.confidence_interval()
    np.testing.assert_allclose(
        (found.low, found.high, found.p, found.df), (low, high, welch.pvalue, welch.df), rtol=1e-9
    )


def test_one_seed_with_a_cluster_per_pair_is_the_paired_t_test():
    one, other = coin_flips(1), coin_flips(2)
    found = linear_interval([panel_of(one), panel_of(other)], DIFFERENCE)
    expected = stats.ttest_rel(one[0], other[0])
    low, high = expected.confidence_interval()
    np.testing.assert_allclose((found.low, found.high, found.p), (low, high, expected.pvalue))
    assert found.note == ITEM_NOISE


def test_one_seed_with_unequal_clusters_is_the_clustered_regression():
    one, other = coin_flips(1)[0], coin_flips(2)[0]
    clusters = np.sort(np.random.default_rng(0).integers(0, 15, 120))
    clusters = np.unique(clusters, return_inverse=True)[1]
    found = linear_interval([panel_of(one, clusters), panel_of(other, clusters)], DIFFERENCE)
    fit = sm.OLS(one - other, np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    np.testing.assert_allclose(found.standard_error, fit.bse[0])
    assert found.df == clusters.max()


def two_way(decisions_SP, clusters):
    """The noise of decisions in one seed's accuracy, from an analysis of variance by hand."""
    num_seeds, num_pairs = decisions_SP.shape
    num_clusters = clusters.max() + 1
    left = decisions_SP - decisions_SP.mean(1, keepdims=True)
    sums_SC = np.stack([left[:, clusters == c].sum(1) for c in range(num_clusters)], 1)
    left_SC = sums_SC - sums_SC.mean(0)
    mean_square = (left_SC**2).sum() / (num_seeds - 1) / (num_clusters - 1)
    return num_clusters * mean_square / num_pairs**2


@pytest.mark.parametrize("lift", [0.0, 0.3], ids=["seeds alike", "seeds differ"])
def test_variance_and_degrees_of_freedom_follow_the_formula(lift):
    """Clusters plus seeds minus what is in both, written out by hand."""
    rng = np.random.default_rng(0)
    right = 72, 60  # of 120 in each seed, but which ones varies
    one, other = (
        np.stack([rng.permutation(np.arange(120) < k) for _ in range(n)]).astype(float)
        for k, n in zip(right, (3, 5), strict=True)
    )
    one[0] = np.maximum(one[0], coin_flips(3, chance=2 * lift))
    clusters = np.arange(120) % 10
    found = moments([panel_of(one, clusters), panel_of(other, clusters)], DIFFERENCE)
    paired = one.mean(0) - other.mean(0)
    sums = np.array([(paired[clusters == c] - paired.mean()).sum() for c in range(10)])
    parts = [(10 / 9 * (sums**2).sum() / 120**2, 9)]
    noise = two_way(one, clusters) / 3 + two_way(other, clusters) / 5
    by_seed = [(one.mean(1).var(ddof=1) / 3, 2), (other.mean(1).var(ddof=1) / 5, 4)]
    differ = sum(v for v, _ in by_seed) > SEEN * noise
    assert differ == (lift > 0)
    parts += by_seed if differ else []
    variance = sum(part for part, _ in parts) - (noise if differ else 0)
    np.testing.assert_allclose(found.estimate, paired.mean())
    np.testing.assert_allclose(found.variance, variance)
    np.testing.assert_allclose(found.df, variance**2 / sum(v**2 / df for v, df in parts))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 12))
def test_order_and_scale_do_not_matter(seed, num_seeds, num_clusters):
    rng = np.random.default_rng(seed)
    one, other = coin_flips(seed, num_seeds, 60), coin_flips(seed + 1, num_seeds, 60)
    clusters = np.arange(60) % num_clusters
    base = moments([panel_of(one, clusters), panel_of(other, clusters)], DIFFERENCE)
    order = rng.permutation(60)
    mixed = [
        panel_of(x[rng.permutation(num_seeds)][:, order], clusters[order]) for x in (one, other)
    ]
    np.testing.assert_allclose(moments(mixed, DIFFERENCE), base, rtol=1e-9, atol=1e-12)
    scaled = moments([panel_of(one, clusters), panel_of(other, clusters)], (100.0, -100.0))
    np.testing.assert_allclose(scaled.estimate, 100 * base.estimate, atol=1e-9)
    np.testing.assert_allclose(scaled.variance, 1e4 * base.variance, atol=1e-9)
    flipped = moments([panel_of(1 - one, clusters), panel_of(1 - other, clusters)], DIFFERENCE)
    np.testing.assert_allclose(flipped.estimate, -base.estimate, atol=1e-12)
    np.testing.assert_allclose(flipped.variance, base.variance, atol=1e-12)


def test_pairing_by_item_narrows_the_interval():
    shared = coin_flips(0)[0]
    other = shared.copy()
    other[:6] = 1 - other[:6]
    paired = linear_interval([panel_of(shared), panel_of(other)], DIFFERENCE)
    scrambled = np.random.default_rng(0).permutation(other)
    unpaired = linear_interval([panel_of(shared), panel_of(scrambled)], DIFFERENCE)
    assert paired.standard_error < unpaired.standard_error / 2


def test_notes_say_what_an_interval_does_not_know():
    three, one = coin_flips(1, 3), coin_flips(2, 1)
    assert linear_interval([panel_of(three), panel_of(three[::-1])], (1.0, 1.0)).note == ""
    assert linear_interval([panel_of(three), panel_of(one)], DIFFERENCE).note == ONE_SIDED
    assert accuracy_interval(panel_of(one)).note == ITEM_NOISE


def test_one_cluster_has_no_interval():
    found = accuracy_interval(panel_of(coin_flips(0, 3), np.zeros(120, dtype=int)))
    assert found.note == ONE_CLUSTER
    assert np.isnan([found.low, found.high, found.p]).all()
    assert found.estimate == coin_flips(0, 3).mean()


def test_no_variation_is_never_called_certain():
    same = panel_of(coin_flips(0))
    found = linear_interval([same, same], DIFFERENCE)
    assert (found.estimate, found.note) == (0.0, NO_VARIANCE)
    assert np.isnan([found.low, found.high, found.p]).all()


def test_seeds_still_count_when_items_agree():
    same = seeds_only([0.6, 0.7, 0.65])
    found = linear_interval([same, same], DIFFERENCE)
    assert found.low < 0 < found.high
    assert found.p == 1.0


@pytest.mark.parametrize(("accuracy", "low", "high"), [(1.0, 0.9638, 1.0), (0.0, 0.0, 0.0362)])
def test_a_perfect_score_gets_the_exact_interval(accuracy, low, high):
    found = accuracy_interval(panel_of(np.full((3, 100), accuracy)))
    np.testing.assert_allclose((found.low, found.high), (low, high), atol=1e-4)
    clopper = stats.binomtest(int(100 * accuracy), 100).proportion_ci(method="exact")
    np.testing.assert_allclose((found.low, found.high), tuple(clopper))
    assert found.note == EXACT


def test_an_accuracy_interval_stays_a_percentage():
    found = accuracy_interval(panel_of(exactly(0.99, 100)))
    assert found.high == 1.0
    assert 0.9 < found.low < 0.99


def test_two_seeds_are_said_to_cover_less():
    for num_seeds, note in ((2, TWO_SEEDS), (3, "")):
        pair = [panel_of(coin_flips(seed, num_seeds)) for seed in range(2)]
        assert linear_interval(pair, DIFFERENCE).note == note


def test_the_two_way_bootstrap_agrees_where_both_are_valid():
    """With many items: it counts the noise of single decisions twice, among clusters and seeds."""
    studies = simulate(Design(num_seeds=20, num_clusters=100, items_per_cluster=200), 1, seed=4)
    pair = [p._replace(sums_SC=p.sums_SC[0]) for p in (studies.modality, studies.baseline)]
    drawn = bootstrap(pair, replicates=4000, seed=1)
    primary = linear_interval(pair, DIFFERENCE)
    low, high = percentiles(drawn[:, 0] - drawn[:, 1])
    np.testing.assert_allclose(low, primary.low, atol=0.05 * (primary.high - primary.low))
    np.testing.assert_allclose(high, primary.high, atol=0.05 * (primary.high - primary.low))


def test_the_bootstrap_keeps_items_paired_and_a_single_seed_fixed():
    shared = coin_flips(0)
    drawn = bootstrap([panel_of(shared), panel_of(shared)], replicates=200)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
    flat = bootstrap([seeds_only([0.6])], replicates=50)
    np.testing.assert_allclose(flat, 0.6)
    assert np.ptp(bootstrap([seeds_only([0.6, 0.7])], replicates=50)) > 0


def covered(design, num_studies=1200, seed=7):
    studies = simulate(design, num_studies, seed=seed)
    found = moments([studies.modality, studies.baseline], DIFFERENCE)
    return (np.abs(found.estimate - true_difference(design)) <= half_width(found)).mean()


@pytest.mark.parametrize(
    "change",
    [
        {"seed_sd": 0.0},
        {"seed_sd": 0.05},
        {"seed_sd": 0.10},
        {"seed_sd": 0.10, "num_seeds": 5},
        {"seed_sd": 0.10, "harm": 0.0, "harm_sd": 0.0},  # two runs of one modality: 5 % rejected
        {"seed_sd": 0.05, "harm_sd": 0.6},  # what clusters disagree about outweighs the seeds
        {"seed_sd": 0.0, "num_seeds": 1},  # item noise is all there is
        {"seed_sd": 0.05, "num_clusters": 300, "items_per_cluster": 1},  # stories, words
        {"seed_sd": 0.20, "num_clusters": 300, "items_per_cluster": 1},
    ],
    ids=str,
)
def test_nominal_95_percent_intervals_cover_93_to_97(change):
    design = dataclasses.replace(Design(), **{"items_per_cluster": 60, **change})
    assert 0.93 <= covered(design) <= 0.97 + 2 * 0.005  # and two standard errors of the simulation


def test_panels_do_not_depend_on_the_order_of_rows():
    frame = decisions("m", 0.7, num_pairs=40)
    frame = frame[(frame["layer"] == 2) & (frame["convention"] == "mean")]
    one, other = panel(frame), panel(frame.sample(frac=1, random_state=0))
    np.testing.assert_array_equal(one.sums_SC, other.sums_SC)
    assert (one.num_seeds, one.num_pairs, one.num_clusters) == (3, 40, 30)
    assert one.accuracy == frame["correct"].mean()


def test_panels_refuse_pairs_that_do_not_match():
    frame = decisions("m", 0.7, num_pairs=40)
    frame = frame[(frame["layer"] == 2) & (frame["convention"] == "mean")]
    with pytest.raises(ValueError, match=r"not judged on the same pairs.*p0003"):
        panels([frame, frame[frame["pair"] != "p0003"]])
    with pytest.raises(ValueError, match=r"p0003.*every seed"):
        panel(frame[~((frame["pair"] == "p0003") & (frame["seed"] == 1))])
    with pytest.raises(ValueError, match="more than once"):
        panel(decisions("m", 0.7, num_pairs=40))
