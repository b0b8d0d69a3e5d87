import math
import re

import pytest

from ray_slm.report.answer import answer, warnings
from ray_slm.report.tables import in_order
from tests.report.made_up import made_up, nothing_ran

SPEECH = "speech-whisper-tiny-en-l3"


def with_contrasts(rows, num_seeds=3):
    """Results whose table3 has (factor, task, points, low, high, logit, skill_lost) set."""
    results = made_up(num_seeds)
    table3 = results.table3.copy()
    table3[["points", "logit"]] = 0.1
    table3[["low", "high", "skill_lost"]] = [-1.0, 1.2, 0.0]
    for factor, task, *figures in rows:
        here = (table3["factor"] == factor) & (table3["task"] == task)
        table3.loc[here, ["points", "low", "high", "logit", "skill_lost"]] = figures
    return in_order(results._replace(table3=table3))


def test_the_costliest_factor_is_named_with_its_numbers():
    first, second = answer(
        with_contrasts(
            [
                ("C", "swuggy", -12.8, -14.9, -10.7, -0.54, 77.0),
                ("B", "sblimp", -6.1, -8.2, -4.0, -0.26, 43.0),
            ]
        )
    ).sentences
    assert f"Factor C (paralinguistic variability; phone-repeat to {SPEECH})" in first
    assert "\N{MINUS SIGN}12.8 points" in first
    assert "sWUGGY-style" in first
    assert "\N{MINUS SIGN}14.9 to \N{MINUS SIGN}10.7, zero excluded" in first
    assert "first also in log-odds and in above-chance skill" in first
    assert "factor B changes accuracy by \N{MINUS SIGN}6.1 points on sBLIMP-style" in second
    assert "factor A changes accuracy by +0.1 points" in second
    assert "zero not excluded" in second


def test_a_larger_loss_whose_interval_includes_zero_is_not_put_first():
    first, _ = answer(
        with_contrasts(
            [
                ("C", "swuggy", -20.0, -45.0, 5.0, -0.9, 90.0),
                ("B", "sblimp", -3.0, -4.0, -2.0, -0.1, 20.0),
            ]
        )
    ).sentences
    assert first.startswith("Factor B")
    assert "log-odds puts factor C on sWUGGY-style first" in first


def test_without_a_clear_loss_no_factor_is_blamed():
    first, _ = answer(with_contrasts([("C", "swuggy", -2.0, -5.0, 1.0, -0.1, 9.0)])).sentences
    assert "cannot be said" in first
    assert "No loss whose 95 % interval excludes zero" in first
    assert "\N{MINUS SIGN}2.0 points" in first


def test_a_clear_gain_is_no_cost():
    first, _ = answer(with_contrasts([("A", "swuggy", 4.0, 2.0, 6.0, 0.2, -10.0)])).sentences
    assert "cannot be said" in first


@pytest.mark.parametrize(("num_seeds", "labelled"), [(1, True), (3, False)])
def test_one_seed_is_said_to_hold_item_noise_only(num_seeds, labelled):
    results = with_contrasts([("C", "swuggy", -12.8, -14.9, -10.7, -0.5, 77.0)], num_seeds)
    assert ("item noise only" in answer(results).sentences[1]) is labelled


def test_scales_that_disagree_are_reported_per_task():
    found = answer(
        with_contrasts(
            [
                ("B", "sblimp", -8.3, -9.0, -7.0, -0.40, 34.0),
                ("C", "sblimp", -7.9, -8.9, -6.9, -0.38, 55.0),
            ]
        )
    )
    (sentence,) = [s for s in found.disagreements if "sBLIMP" in s]
    assert "by points B (phone-raw to phone-repeat)" in sentence
    assert f"by above-chance skill C (phone-repeat to {SPEECH})" in sentence


def test_a_task_on_which_nothing_was_learned_is_named():
    results = made_up()
    chance = results.table4["task"] == "topic-storycloze"
    table4 = results.table4.copy()
    table4.loc[chance, ["accuracy", "low", "high"]] = [50.5, 48.0, 53.0]
    _, second = answer(in_order(results._replace(table4=table4))).sentences
    assert "on Topic-StoryCloze-style no modality can be told from chance" in second


def test_missing_intervals_are_not_taken_for_evidence():
    rows = [("C", "swuggy", -12.8, math.nan, math.nan, -0.5, 77.0)]
    first, _ = answer(with_contrasts(rows)).sentences
    assert "cannot be said" in first
    assert "no interval" in first


def test_a_correction_that_is_not_survived_is_said():
    results = with_contrasts([("C", "swuggy", -2.8, -5.0, -0.6, -0.1, 7.0)])
    table3 = results.table3.assign(p_holm=0.2)
    assert "p = 0.200, does not survive" in answer(results._replace(table3=table3)).sentences[0]


def test_nothing_is_said_of_a_study_that_did_not_run():
    first, second = answer(in_order(nothing_ran())).sentences
    assert first.startswith("Nothing can be said yet")
    assert re.search(r"of stages, 1 have no result", second)


def test_contrasts_without_figures_count_as_nothing():
    results = made_up()
    table3 = results.table3.assign(points=math.nan, low=math.nan, high=math.nan)
    first, _ = answer(in_order(results._replace(table3=table3))).sentences
    assert first.startswith("Nothing can be said yet")


def test_warnings_are_always_there():
    found = " ".join(warnings(in_order(nothing_ran())))
    for words in ("Hours of synthetic speech", "not the paper's", "Whisper", "bundle"):
        assert words in found


def test_recorded_speech_is_not_called_synthetic():
    results = made_up()
    study = {**results.study, "synthetic": False}
    found = " ".join(warnings(results._replace(study=study)))
    assert "synthetic speech" not in found
    assert "Whisper" in found
