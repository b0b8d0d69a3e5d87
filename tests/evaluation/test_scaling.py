import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ray_slm.evaluation import curves
from ray_slm.evaluation.contrasts import B
from ray_slm.evaluation.gaps import (
    EXTRAPOLATED,
    NOT_REACHED,
    gap_table,
    reach_table,
    slope_ratio_table,
)
from ray_slm.evaluation.runs import WITHIN_RUN, accuracy_runs, samples
from ray_slm.evaluation.scaling import loss_table, scaling_table

BUDGETS = (10_000, 20_000, 40_000, 80_000, 160_000, 320_000)


def growing(modality, at_first, per_decade, *, seeds=(0, 1, 2), budgets=BUDGETS, noise=0.004):
    """Decisions whose accuracy is a line in log10 tokens, to the nearest of 2,000 pairs."""
    rng = np.random.default_rng(len(modality))
    frames = []
    for seed in seeds:
        for budget in budgets:
            level = at_first + per_decade * np.log10(max(budget, 1) / BUDGETS[0]) if budget else 0.5
            right = round(2000 * (level + (noise * rng.normal() if budget else 0)))
            numbers = np.arange(2000)
            frames.append(
                pd.DataFrame(
                    {
                        **{"modality": modality, "seed": seed, "tokens": budget, "task": "swuggy"},
                        **{"pair": numbers.astype(str), "cluster": numbers.astype(str)},
                        **{"type": "", "subtype": "", "band": "", "layer": 2, "convention": "mean"},
                        "correct": (numbers < right).astype(float),
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def frame():
    parts = [growing("phone-raw", 0.55, 0.16), growing("phone-repeat", 0.52, 0.08)]
    return pd.concat(parts, ignore_index=True)


def row_of(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_slopes_and_their_interval_over_seeds(frame):
    row = row_of(scaling_table(frame), modality="phone-raw", form="log-linear")
    runs = accuracy_runs(frame)["phone-raw", "swuggy"]
    slopes = [100 * stats.linregress(np.log10(r.tokens_N), r.values_N).slope for r in runs]
    interval = stats.t.interval(0.95, 2, np.mean(slopes), stats.sem(slopes))
    np.testing.assert_allclose(
        (row["slope"], row["low"], row["high"]), (np.mean(slopes), *interval)
    )
    assert row["interval"] == "over 3 seeds"
    assert row["low"] < 16 < row["high"]
    assert (row["num_checkpoints"], row["num_seeds"], row["note"]) == (6, 3, "")


def test_the_true_form_foretells_the_largest_budget_better_than_the_papers_line(frame):
    table = scaling_table(frame)
    for modality in ("phone-raw", "phone-repeat"):
        found = table[table["modality"] == modality].set_index("form")
        assert found.loc["log-linear", "heldout_error"] < found.loc["linear", "heldout_error"]
        assert found["best"].sum() == 1
        assert found.loc[found["best"], "heldout_error"].item() == found["heldout_error"].min()


def test_a_single_run_is_labeled_as_such(frame):
    row = row_of(scaling_table(frame[frame["seed"] == 0]), modality="phone-raw", form="log-linear")
    assert row["interval"] == WITHIN_RUN
    assert row["low"] < row["slope"] < row["high"]
    few = scaling_table(frame[(frame["seed"] == 0) & (frame["tokens"] <= 80_000)])
    assert "the interval is rough" in row_of(few, modality="phone-raw", form="linear")["note"]


def test_untrained_checkpoints_take_no_part(frame):
    untrained = growing("phone-raw", 0.55, 0.16, budgets=(0,))
    with_zero = pd.concat([frame[frame["modality"] == "phone-raw"], untrained])
    without = scaling_table(frame[frame["modality"] == "phone-raw"])
    pd.testing.assert_frame_equal(scaling_table(with_zero), without)


def test_too_few_checkpoints_invent_nothing(frame):
    table = scaling_table(frame[frame["tokens"].isin([10_000, 320_000])])
    assert (table["note"] == "too few checkpoints").all()
    assert table[["slope", "low", "high", "heldout_error"]].isna().all(axis=None)
    assert not table["best"].any()
    runs = accuracy_runs(frame[frame["tokens"] <= 20_000])["phone-raw", "swuggy"]
    with pytest.raises(ValueError, match="too few checkpoints: 2 trained, 3 needed"):
        samples(runs, "linear", lambda p: p[:, 1], rising=True)


def test_three_checkpoints_fit_a_line_but_hold_out_no_power_law(frame):
    table = scaling_table(frame[frame["tokens"] <= 40_000])
    power = row_of(table, modality="phone-raw", form="power")
    assert np.isnan(power["heldout_error"])
    line = row_of(table, modality="phone-raw", form="linear")
    assert np.isfinite([line["slope"], line["heldout_error"]]).all()


def test_losses_follow_their_power_law():
    tokens = np.array([0, 1e6, 2e6, 4e6, 8e6, 16e6])
    rng = np.random.default_rng(0)
    rows = [
        {
            "modality": "phone-raw",
            "seed": seed,
            "tokens": count,
            "bits_per_second": 40
            + 20 * max(count, 1e5 / 3) ** -0.4 * 1e6**0.4
            + 0.01 * rng.normal(),
        }
        for seed in (0, 1, 2)
        for count in tokens
    ]
    table = loss_table(pd.DataFrame(rows))
    power = row_of(table, form="power")
    assert power["best"]
    assert power["slope"] == pytest.approx(0.4, rel=0.05)
    assert power["floor"] == pytest.approx(40, abs=1)
    assert power["unit"] == "exponent of the loss"
    assert row_of(table, form="log-linear")["slope"] < 0
    doubled = pd.DataFrame(rows + rows)
    with pytest.raises(ValueError, match="phone-raw, seed 0: two values"):
        loss_table(doubled)


def test_tokens_to_reach_with_an_interval(frame):
    row = row_of(reach_table(frame, 65.0), modality="phone-raw")
    truth = 10_000 * 10 ** (0.10 / 0.16)
    assert row["low"] < truth < row["high"]
    assert row["tokens"] == pytest.approx(truth, rel=0.15)
    assert row["note"] == ""
    beyond = row_of(reach_table(frame, 90.0), modality="phone-raw")
    assert beyond["note"] == EXTRAPOLATED
    assert beyond["tokens"] > 320_000


def test_goals_out_of_reach_are_infinite(frame):
    falling = growing("phone-raw", 0.7, -0.05)
    row = row_of(reach_table(falling, 90.0), modality="phone-raw")
    assert (row["tokens"], row["note"]) == (np.inf, NOT_REACHED)
    few = reach_table(frame[frame["tokens"] <= 20_000], 65.0)
    assert (few["note"] == "too few checkpoints").all()
    assert few["tokens"].isna().all()


@pytest.mark.parametrize(("seeds", "interval"), [((0, 1, 2), "over 3 seeds"), ((0,), WITHIN_RUN)])
def test_the_gap_of_a_contrast(frame, seeds, interval):
    row = gap_table(frame[frame["seed"].isin(seeds)], (B,), 60.0).iloc[0]
    truth = 10 ** (0.08 / 0.08 - 0.05 / 0.16)
    assert row["low"] < truth < row["high"]
    assert row["times"] == pytest.approx(truth, rel=0.25)
    assert row["interval"] == interval
    assert row["note"] == ""


def test_a_gap_to_what_is_never_reached():
    parts = [growing("phone-raw", 0.55, 0.16), growing("phone-repeat", 0.55, -0.02)]
    both = pd.concat(parts, ignore_index=True)
    row = gap_table(both, (B,), 70.0).iloc[0]
    assert (row["times"], row["note"]) == (np.inf, NOT_REACHED)
    swapped = both.replace({"phone-raw": "phone-repeat", "phone-repeat": "phone-raw"})
    other = gap_table(swapped, (B,), 70.0).iloc[0]
    assert np.isnan(other["times"])
    assert other["note"] == "not reached by the baseline"


def test_slope_ratios(frame):
    row = slope_ratio_table(frame, (B,)).iloc[0]
    assert row["low"] < 0.5 < row["high"]
    assert row["ratio"] == pytest.approx(0.5, abs=0.05)
    flat = pd.concat([growing("phone-raw", 0.55, 0.0), growing("phone-repeat", 0.52, 0.08)])
    assert np.isnan(slope_ratio_table(flat, (B,)).iloc[0]["ratio"])
    few = slope_ratio_table(frame[frame["tokens"] <= 20_000], (B,)).iloc[0]
    assert few["note"] == curves.TOO_FEW
