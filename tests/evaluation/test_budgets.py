import numpy as np
import pandas as pd
import pytest

from ray_slm.evaluation.budgets import (
    VIEWS,
    at_equal_budget,
    curve_table,
    on_axis,
    seed_slopes,
    view_table,
)
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.curves import fit, predict
from ray_slm.evaluation.runs import accuracy_runs
from ray_slm.evaluation.scaling import scaling_table
from tests.evaluation.frames import decisions

A = Contrast(factor="A", baseline="text", modality="phones")
HOURS = {"text": 1 / 10, "phones": 1 / 40}  # an hour is 10 tokens of text, 40 phones
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
    found = curve_table(frame)
    for modality, curve in found.groupby("modality"):
        inside = curve[~curve["extrapolated"]]
        assert inside["tokens"].max() == {"text": 1000, "phones": 4000}[modality]
        assert curve["tokens"].max() == pytest.approx(10 * inside["tokens"].max())
        assert curve["tokens"].is_monotonic_increasing
        runs = accuracy_runs(frame)[(modality, "sblimp")]
        means = [
            predict("log-linear", fit("log-linear", *run, rising=True), run.tokens_N, rising=True)
            for run in runs
        ]
        expected = 100 * np.mean(means, axis=0)[0, 0]
        assert curve["accuracy"].iloc[0] == pytest.approx(expected)
    assert curve_table(frame[frame["tokens"] == 1000]).empty
