import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from ray_slm.evaluation import curves
from ray_slm.evaluation.curves import FORMS

TOKENS = np.array([1e6, 2e6, 4e6, 8e6, 16e6])
TRUE = {
    "linear": np.array([[0.55, 0.01]]),
    "log-linear": np.array([[-0.3, 0.14]]),
    "logit-linear": np.array([[-5.0, 0.9]]),
    "power": np.array([[0.1, 0.25, 0.4, 4e6]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_curve_without_noise_is_found_again(form):
    values = curves.predict(form, TRUE[form], TOKENS, rising=True)
    found = curves.fit(form, TOKENS, values, rising=True)
    atol = 0.02 if form == "power" else 1e-9  # the exponents are on a grid of 1.3 %
    np.testing.assert_allclose(found, TRUE[form], rtol=0.02, atol=atol)
    np.testing.assert_allclose(curves.predict(form, found, TOKENS, rising=True), values, atol=1e-3)
    assert curves.held_out_error(form, TOKENS, values[0], rising=True) < 2e-3


@pytest.mark.parametrize("form", FORMS)
def test_tokens_to_reach_inverts_the_curve(form):
    level = float(curves.predict(form, TRUE[form], np.array([7e6]), rising=True)[0, 0])
    reached = curves.tokens_to_reach(form, TRUE[form], level, rising=True)
    np.testing.assert_allclose(reached, [7e6], rtol=1e-9)


def test_a_curve_that_does_not_get_there_never_does():
    for form in ("linear", "log-linear", "logit-linear"):
        falling = TRUE[form] * np.array([1, -1])
        assert curves.tokens_to_reach(form, falling, 0.9, rising=True) == np.inf
    assert curves.tokens_to_reach("power", TRUE["power"], 0.95, rising=True) == np.inf  # E = 0.1
    assert np.isfinite(curves.tokens_to_reach("power", TRUE["power"], 0.85, rising=True))


def test_a_loss_falls_to_its_floor():
    params = np.array([[2.0, 1.5, 0.3, 4e6]])
    losses = curves.predict("power", params, TOKENS, rising=False)
    assert (np.diff(losses) < 0).all()
    found = curves.fit("power", TOKENS, losses, rising=False)
    np.testing.assert_allclose(found[0, [0, 2]], [2.0, 0.3], rtol=0.05)
    reached = curves.tokens_to_reach("power", params, float(losses[0, 2]), rising=False)
    np.testing.assert_allclose(reached, TOKENS[2])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_straight_lines_are_least_squares(seed):
    values = np.random.default_rng(seed).uniform(0.4, 0.9, 5)
    line = stats.linregress(np.log10(TOKENS), values)
    found = curves.fit("log-linear", TOKENS, values, rising=True)[0]
    np.testing.assert_allclose(found, [line.intercept, line.slope], atol=1e-9)
    odds = stats.linregress(np.log10(TOKENS), special.logit(values))
    found = curves.fit("logit-linear", TOKENS, values, rising=True)[0]
    np.testing.assert_allclose(found, [odds.intercept, odds.slope], atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_the_power_law_fits_no_worse_than_a_constant_and_keeps_its_signs(seed):
    losses = np.random.default_rng(seed).uniform(1, 3, 6)
    tokens = np.geomspace(1e5, 1e7, 6)
    found = curves.fit("power", tokens, losses, rising=False)
    residual = curves.predict("power", found, tokens, rising=False)[0] - losses
    assert (residual**2).sum() <= ((losses - losses.mean()) ** 2).sum() + 1e-12
    assert (found[0, :2] >= 0).all()


def test_too_few_checkpoints_and_untrained_models_are_refused():
    with pytest.raises(ValueError, match="too few checkpoints: 2 for the power form"):
        curves.fit("power", TOKENS[:2], np.array([0.5, 0.6]), rising=True)
    with pytest.raises(ValueError, match="leave untrained models out"):
        curves.fit("linear", np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.6, 0.7]), rising=True)
    with pytest.raises(ValueError, match="'cubic'"):
        curves.fit("cubic", TOKENS, np.full(5, 0.5), rising=True)
    assert np.isnan(
        curves.held_out_error("power", TOKENS[:3], np.array([0.5, 0.6, 0.65]), rising=True)
    )


def autocorrelated(rng, num, rho):
    noise = np.empty(num)
    noise[0] = rng.normal()
    for i in range(1, num):
        noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * rng.normal()
    return noise


def test_the_block_bootstrap_is_wider_than_least_squares_under_autocorrelation():
    rng = np.random.default_rng(0)
    tokens = np.geomspace(1e6, 1e8, 40)
    held = {"blocks": 0, "ols": 0}
    for _ in range(150):
        values = 0.5 + 0.05 * np.log10(tokens / 1e6) + 0.02 * autocorrelated(rng, 40, 0.6)
        drawn = curves.block_bootstrap("log-linear", tokens, values, rising=True, replicates=300)
        low, high = np.quantile(drawn[:, 1], [0.025, 0.975])
        held["blocks"] += low <= 0.05 <= high
        line = stats.linregress(np.log10(tokens), values)
        held["ols"] += abs(line.slope - 0.05) <= stats.t.ppf(0.975, 38) * line.stderr
    assert held["blocks"] > held["ols"]


def test_the_block_bootstrap_of_white_noise_covers():
    rng = np.random.default_rng(1)
    tokens = np.geomspace(1e6, 1e8, 12)
    held = 0
    for _ in range(300):
        values = 0.5 + 0.05 * np.log10(tokens / 1e6) + 0.02 * rng.normal(size=12)
        drawn = curves.block_bootstrap("log-linear", tokens, values, rising=True, replicates=300)
        low, high = np.quantile(drawn[:, 1], [0.025, 0.975])
        held += low <= 0.05 <= high
    assert 0.82 <= held / 300 <= 0.98
