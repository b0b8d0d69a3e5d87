import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.training.scale import Optimizer
from ray_slm.training.schedule import learning_rate, warmup_tokens

WSD = Optimizer(peak_lr=1.0, cooldown_fraction=0.2)
COSINE = Optimizer(peak_lr=1.0, schedule="cosine", min_lr_fraction=0.1)
AGAIN = Optimizer(peak_lr=1.0, schedule="wsd-s", cooldown_fraction=0.2)


def rate(optimizer, tokens, warmup=100, checkpoints=()):
    return learning_rate(
        optimizer, tokens, total_tokens=1000, warmup=warmup, checkpoints=checkpoints
    )


@pytest.mark.parametrize("optimizer", [WSD, COSINE, AGAIN])
def test_warm_up_is_a_straight_line_to_the_peak(optimizer):
    assert [rate(optimizer, t) for t in (0, 25, 50, 100)] == [0, 0.25, 0.5, 1]


def test_wsd_holds_the_peak_then_goes_straight_down_to_zero():
    assert [rate(WSD, t) for t in (101, 500, 800)] == [1, 1, 1]
    assert rate(WSD, 900) == pytest.approx(0.5)
    assert rate(WSD, 1000) == 0


def test_cosine_ends_at_a_tenth_of_the_peak():
    assert rate(COSINE, 550) == pytest.approx(0.55)
    assert rate(COSINE, 1000) == pytest.approx(0.1)


def test_wsd_s_cools_down_before_every_checkpoint_and_returns():
    at = {t: rate(AGAIN, t, checkpoints=(0, 500)) for t in (400, 450, 500, 501, 900, 950, 1000)}
    assert at[400] == 1
    assert at[450] == pytest.approx(0.5)
    assert at[500] == 0
    assert at[501] == at[900] == 1
    assert at[950] == pytest.approx(0.5)
    assert at[1000] == 0


def test_beyond_the_end_the_rate_stays_at_its_end():
    for optimizer in (WSD, COSINE, AGAIN):
        assert rate(optimizer, 1500) == rate(optimizer, 1000)


@settings(deadline=None)
@given(st.floats(0, 1200), st.sampled_from([WSD, COSINE, AGAIN]), st.floats(0, 400))
def test_rates_lie_between_zero_and_the_peak(tokens, optimizer, warmup):
    assert 0 <= rate(optimizer, tokens, warmup, (0, 300, 1000)) <= 1


def test_no_cooldown_and_no_warm_up_are_possible():
    constant = dataclasses.replace(WSD, cooldown_fraction=0.0)
    assert [rate(constant, t, warmup=0) for t in (0, 500, 1000)] == [1, 1, 1]


def test_warm_up_takes_2000_steps_or_two_percent_of_a_short_run():
    assert warmup_tokens(Optimizer(), 10**9, 5000.0) == 10**7
    assert warmup_tokens(Optimizer(), 10**6, 5000.0) == pytest.approx(20_000)
