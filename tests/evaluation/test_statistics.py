import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from ray_slm.evaluation.intervals import linear_interval
from ray_slm.evaluation.statistics import (
    benjamini_hochberg,
    disagreements,
    effect,
    equivalence_p,
    equivalence_verdict,
    holm,
)
from tests.evaluation.frames import exactly, panel_of

# Tables 3 and 4 of the paper: contrasts B and C on sWUGGY, sBLIMP and tSC.
PUBLISHED = {
    "B": ("phone-raw", "phone-repeat", (85.8, 74.5, 66.6), (85.5, 66.2, 58.3)),
    "C": ("phone-repeat", "speech-hubert", (85.5, 66.2, 58.3), (50.8, 57.3, 52.9)),
}


@pytest.mark.parametrize(
    ("baseline", "modality", "points", "logit", "lost"),
    [
        (0.745, 0.662, -8.3, -0.40, 34),
        (0.666, 0.583, -8.3, -0.36, 50),
        (0.855, 0.508, -34.7, -1.74, 98),
        (0.662, 0.573, -8.9, -0.38, 55),
        (0.583, 0.529, -5.4, -0.22, 65),
    ],
)
def test_the_three_scales_give_the_published_figures(baseline, modality, points, logit, lost):
    found = effect(panel_of(exactly(baseline)), panel_of(exactly(modality)))
    assert round(found.points.estimate, 1) == points
    assert round(found.logit.estimate, 2) == logit
    assert round(found.skill_lost.estimate) == lost


def random_pair(seed, num_pairs=2000, num_clusters=40, harm=-0.5):
    """Two correlated modalities, one seed, clustered."""
    rng = np.random.default_rng(seed)
    clusters = np.arange(num_pairs) % num_clusters
    ease = rng.normal(0.8, 1, num_pairs) + rng.normal(0, 0.5, num_clusters)[clusters]
    rows = [
        (rng.random(num_pairs) < special.expit(ease + shift)).astype(float) for shift in (0, harm)
    ]
    return rows, clusters


def test_log_odds_agree_with_a_clustered_logistic_regression():
    (baseline, modality), clusters = random_pair(0)
    found = effect(panel_of(baseline, clusters), panel_of(modality, clusters)).logit
    correct = np.concatenate([baseline, modality])
    factor = np.repeat([0.0, 1.0], len(baseline))
    fit = sm.GLM(correct, sm.add_constant(factor), family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": np.tile(clusters, 2)}
    )
    np.testing.assert_allclose(found.estimate, fit.params[1], rtol=1e-6)
    np.testing.assert_allclose(found.standard_error, fit.bse[1], rtol=1e-3)


def test_lost_skill_has_the_interval_of_a_resampled_ratio():
    (baseline, modality), clusters = random_pair(1, harm=-0.9)
    found = effect(panel_of(baseline, clusters), panel_of(modality, clusters)).skill_lost
    rng, lost = np.random.default_rng(0), []
    members = [np.flatnonzero(clusters == c) for c in range(40)]
    for _ in range(2000):
        taken = np.concatenate([members[c] for c in rng.integers(0, 40, 40)])
        lost.append(100 * (1 - (modality[taken].mean() - 0.5) / (baseline[taken].mean() - 0.5)))
    np.testing.assert_allclose(found.standard_error, np.std(lost), rtol=0.1)


def test_skill_is_not_available_when_the_baseline_may_be_at_chance():
    weak = panel_of(exactly(0.52, 200)[np.random.default_rng(0).permutation(200)])
    found = effect(weak, panel_of(exactly(0.4, 200)))
    assert np.isnan(found.skill_lost.estimate)
    assert "skill n/a" in found.skill_lost.note
    below = effect(panel_of(exactly(0.2, 200)), panel_of(exactly(0.3, 200)))
    assert np.isnan(below.skill_lost.estimate)


def test_log_odds_are_not_available_at_the_edge():
    found = effect(panel_of(np.ones(50)), panel_of(exactly(0.8, 50)))
    assert np.isnan(found.logit.estimate)
    assert "logit n/a" in found.logit.note
    assert found.points.estimate == pytest.approx(-20)
    assert found.skill_lost.estimate == pytest.approx(40)


def test_holm_known_answer():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_benjamini_hochberg_known_answer():
    found = benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(found, [0.02, 0.04, 0.04, 0.02])


def test_a_missing_test_still_belongs_to_the_family():
    with_hole = holm(np.array([0.01, np.nan, np.nan, 0.005]))
    np.testing.assert_allclose(with_hole, [0.03, np.nan, np.nan, 0.02])
    assert holm(np.array([])).size == 0


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_families_are_adjusted_as_statsmodels_does(values):
    for ours, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        expected = multipletests(values, method=method)[1]
        np.testing.assert_allclose(ours(np.array(values)), expected, atol=1e-12)


def test_equivalence_agrees_with_two_one_sided_t_tests():
    rng = np.random.default_rng(0)
    one = (rng.random(3000) < 0.7).astype(float)
    other = one.copy()
    other[:40] = 1 - other[:40]
    points = linear_interval([panel_of(other), panel_of(one)], [100.0, -100.0])
    p, *_ = DescrStatsW(100 * (other - one)).ttost_mean(-1.0, 1.0)
    np.testing.assert_allclose(equivalence_p(points), p)


def test_equivalence_needs_evidence_not_absence_of_it():
    few, many = (panel_of(exactly(0.7, n)) for n in (100, 100))
    noisy = linear_interval([few, panel_of(exactly(0.7, 100)[::-1])], [100.0, -100.0])
    assert noisy.estimate == 0.0
    assert equivalence_verdict(equivalence_p(noisy)) == "inconclusive"
    same = linear_interval([many, many], [100.0, -100.0])
    assert np.isnan(equivalence_p(same))
    assert equivalence_verdict(equivalence_p(same)) == "inconclusive"


def published_table(margin=1.0):
    rows = []
    for factor, (baseline, modality, before, after) in PUBLISHED.items():
        for task, old, new in zip(("sWUGGY", "sBLIMP", "tSC"), before, after, strict=True):
            found = effect(panel_of(exactly(old / 100)), panel_of(exactly(new / 100)))
            rows.append(
                {
                    "factor": factor,
                    "baseline": baseline,
                    "modality": modality,
                    "task": task,
                    "points": found.points.estimate,
                    "low": found.points.estimate - margin,
                    "high": found.points.estimate + margin,
                    "logit": found.logit.estimate,
                    "skill_lost": found.skill_lost.estimate,
                }
            )
    return pd.DataFrame(rows)


def test_the_papers_scales_disagree_about_syntax_and_semantics():
    told = disagreements(published_table(margin=0.1))
    assert [found.task for found in told] == ["sBLIMP", "tSC"]
    b, c = "B (phone-raw to phone-repeat)", "C (phone-repeat to speech-hubert)"
    skill = {"above-chance skill": (c, b)}
    assert told[1].larger == {"points": (b, c), "log-odds": (b, c), **skill}
    assert told[0].larger == {"points": (c, b), "log-odds": (b, c), **skill}


def test_a_gain_is_not_ranked_with_a_loss():
    table = published_table(margin=0.1)
    gain = table["factor"] == "B"
    mirrored = table.assign(points=table["points"].where(~gain, -table["points"]))
    assert not any("B" in str(found.larger) for found in disagreements(mirrored))


def test_effects_that_may_be_zero_are_not_ranked():
    assert disagreements(published_table(margin=20.0)) == []
