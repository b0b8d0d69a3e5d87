import dataclasses

import numpy as np
import pandas as pd
import pytest

from ray_slm.evaluation.budgets import (
    REACH,
    UNEQUAL,
    VIEWS,
    at_equal_budget,
    best_forms,
    curve_table,
    on_axis,
    seed_slopes,
    view_table,
)
from ray_slm.evaluation.contrasts import Contrast, table3
from ray_slm.evaluation.curves import fit, predict
from ray_slm.evaluation.runs import accuracy_runs
from ray_slm.evaluation.scaling import scaling_table
from tests.evaluation.frames import decisions

A = Contrast(factor="A", baseline="text", modality="phones")
HOURS = {"text": 1 / 10, "phones": 1 / 40}  # an hour is 10 tokens of text, 40 phones
LINES = [("text", "sblimp"), ("phones", "sblimp")]
FLOPS = {"text": 2.0, "phones": 4.0}


@pytest.fixture(scope="module")
def frame():
    """As a study makes it: equal hours (4, 20, 100) for both."""
    text = [
        decisions("text", level, tokens=(tokens,), num_pairs=200, draw=tokens)
        for tokens, level in ((40, 0.6), (200, 0.7), (1000, 0.8))
    ]
    phones = [
        decisions("phones", level, tokens=(tokens,), num_pairs=200, draw=tokens)
        for tokens, level in ((160, 0.55), (800, 0.6), (4000, 0.65))
    ]
    return pd.concat([*text, *phones], ignore_index=True)


def budgets(found):
    return found.groupby("modality")["tokens"].unique().map(list).to_dict()


def test_each_view_takes_the_largest_checkpoint_within_the_common_budget(frame):
    assert budgets(at_equal_budget(frame, HOURS)) == {"text": [1000], "phones": [4000]}
    assert budgets(at_equal_budget(frame, {"text": 1, "phones": 1})) == {
        "text": [1000],
        "phones": [800],
    }
    assert budgets(at_equal_budget(frame, FLOPS)) == {"text": [1000], "phones": [160]}


def test_rates_that_are_averages_do_not_drop_the_last_checkpoint(frame):
    assert budgets(at_equal_budget(frame, {**HOURS, "phones": 1.0005 / 40}))["phones"] == [4000]


def test_the_three_views_stand_in_one_table(frame):
    found = view_table(frame, [A], HOURS, FLOPS)
    assert tuple(found["view"]) == VIEWS
    assert found["p_holm"].notna().tolist() == [True, False, False]
    assert found["points"].is_monotonic_decreasing
    assert found["points"].iloc[0] == pytest.approx(table3(frame, (A,))["points"].iloc[0])
    assert [UNEQUAL in note for note in found["note"]] == [False, True, True]


def test_views_hold_equal_what_the_two_sides_of_a_contrast_reached(frame):
    """A third modality that stopped early takes nothing from the others."""
    early = decisions("units", 0.6, tokens=(10,), num_pairs=200)
    both = pd.concat([frame, early], ignore_index=True)
    costs = [{**rates, "units": 1.0} for rates in (HOURS, FLOPS)]
    found, alone = view_table(both, [A], *costs), view_table(frame, [A], HOURS, FLOPS)
    pd.testing.assert_frame_equal(found, alone)


def test_holm_counts_the_family_of_the_equal_audio_view(frame):
    other = dataclasses.replace(A, factor="B", baseline="phones", modality="text")
    found = view_table(frame, [A, other], HOURS, FLOPS)
    first = found[found["view"] == VIEWS[0]]
    assert np.allclose(first["p_holm"], table3(frame, (A, other))["p_holm"])


def test_fits_against_hours_have_the_slopes_of_tokens_in_other_units(frame):
    by_tokens, by_hours = scaling_table(frame), scaling_table(on_axis(frame, HOURS))
    for form, times in (("linear", 10.0), ("log-linear", 1.0), ("power", 1.0)):
        slopes = [
            t[(t["modality"] == "text") & (t["form"] == form)]["slope"].iloc[0]
            for t in (by_tokens, by_hours)
        ]
        assert slopes[1] == pytest.approx(times * slopes[0], rel=1e-6)
    with pytest.raises(ValueError, match="phones"):
        on_axis(frame, {"text": 1.0})


def test_every_run_has_a_slope_and_their_mean_is_the_table(frame):
    found = seed_slopes(frame)
    assert len(found) == 6
    table = scaling_table(frame)
    linear = table[table["form"] == "linear"].set_index("modality")["slope"]
    for modality, runs in found.groupby("modality"):
        assert runs["slope"].mean() == pytest.approx(linear[modality])


def test_curves_beyond_the_largest_budget_are_marked(frame):
    found = curve_table(frame, dict.fromkeys(LINES, "log-linear"))
    for modality, curve in found.groupby("modality"):
        inside = curve[~curve["extrapolated"]]
        assert inside["tokens"].max() == {"text": 1000, "phones": 4000}[modality]
        assert curve["tokens"].max() == pytest.approx(REACH * inside["tokens"].max())
        assert curve["tokens"].is_monotonic_increasing
        runs = accuracy_runs(frame)[(modality, "sblimp")]
        means = [
            predict("log-linear", fit("log-linear", *run, rising=True), run.tokens_N, rising=True)
            for run in runs
        ]
        expected = 100 * np.mean(means, axis=0)[0, 0]
        assert curve["accuracy"].iloc[0] == pytest.approx(expected)


def test_lines_without_a_form_have_no_curve(frame):
    assert set(curve_table(frame, {LINES[0]: "linear"})["modality"]) == {"text"}
    assert curve_table(frame, {}).empty


def test_each_line_is_drawn_in_the_form_that_errs_least(frame):
    fits = scaling_table(frame)
    found = best_forms(fits)
    for modality, task in LINES:
        own = fits[(fits["modality"] == modality) & (fits["task"] == task)]
        assert found[modality, task] == own.loc[own["heldout_error"].idxmin(), "form"]
    assert best_forms(scaling_table(frame[frame["tokens"] == 1000])) == {}
