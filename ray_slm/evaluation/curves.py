"""The curves that are fitted to accuracy or loss against trained tokens, and their inverses.

The paper draws straight lines against tokens; a line against log tokens, one in log-odds and a
saturating power law are fitted beside it.  All functions work on many rows at once, so that a
bootstrap is one call.  Legend: N checkpoints in order of tokens, R rows, K parameters, X exponents,
C candidates.
"""

from typing import Literal

import numpy as np
from scipy import special

Form = Literal["linear", "log-linear", "logit-linear", "power"]
FORMS: tuple[Form, ...] = ("linear", "log-linear", "logit-linear", "power")
NUM_PARAMETERS: dict[Form, int] = {"linear": 2, "log-linear": 2, "logit-linear": 2, "power": 3}
MIN_CHECKPOINTS = 3
TOO_FEW = "too few checkpoints"
_EXPONENTS = np.geomspace(0.02, 3.0, 400)  # neighbors differ by 1.3 %
MOST_AT_ONCE = 500_000  # errors of a grid held at once


def fit(form: Form, tokens_N: np.ndarray, values_RN: np.ndarray, *, rising: bool) -> np.ndarray:
    """Least-squares parameters (R, K).

    linear: value = a + b * tokens / 1e6; log-linear: a + b * log10 tokens; logit-linear:
    logit(value) = a + b * log10 tokens; power: loss = E + B * tokens^-beta with E, B >= 0
    (parameters E, B at the geometric mean of the tokens, beta, that mean), where loss is the
    value itself, or 1 - value when ``rising`` (accuracies).

    Raises:
        ValueError: "too few checkpoints" when there are fewer than parameters, or a budget is
            not above 0 (an untrained model has no logarithm of tokens).
    """
    values_RN = np.atleast_2d(np.asarray(values_RN, dtype=np.float64))
    tokens_N = np.asarray(tokens_N, dtype=np.float64)
    if form not in FORMS:
        raise ValueError(f"no form {form!r}: use one of {FORMS}")
    if len(tokens_N) < NUM_PARAMETERS[form]:
        raise ValueError(
            f"{TOO_FEW}: {len(tokens_N)} for the {form} form, which has {NUM_PARAMETERS[form]} "
            "parameters; add checkpoint_hours to the study"
        )
    if tokens_N.min() <= 0:
        raise ValueError(f"a checkpoint of {tokens_N.min():g} tokens: leave untrained models out")
    if form == "power":
        return _fit_power(tokens_N, 1 - values_RN if rising else values_RN)
    targets_RN = special.logit(values_RN) if form == "logit-linear" else values_RN
    x_N = _abscissa(form, tokens_N)
    centered_N = x_N - x_N.mean()
    slope_R = targets_RN @ centered_N / (centered_N @ centered_N)
    return np.stack([targets_RN.mean(-1) - slope_R * x_N.mean(), slope_R], axis=-1)


def predict(form: Form, params_RK: np.ndarray, tokens_N: np.ndarray, *, rising: bool) -> np.ndarray:
    """Values (R, N) of fitted curves."""
    tokens_N = np.asarray(tokens_N, dtype=np.float64)
    if form == "power":
        floor, scale, exponent, unit = (params_RK[:, k, None] for k in range(4))
        loss_RN = floor + scale * (tokens_N / unit) ** -exponent
        return np.asarray(1 - loss_RN if rising else loss_RN)
    line_RN = params_RK[:, :1] + params_RK[:, 1:2] * _abscissa(form, tokens_N)
    return np.asarray(special.expit(line_RN) if form == "logit-linear" else line_RN)


def slope(form: Form, params_RK: np.ndarray) -> np.ndarray:
    """The rate (R,): b of the straight lines, the exponent beta of the power law."""
    return np.asarray(params_RK[:, 2] if form == "power" else params_RK[:, 1])


def tokens_to_reach(form: Form, params_RK: np.ndarray, value: float, *, rising: bool) -> np.ndarray:
    """Tokens (R,) at which fitted curves reach a value; inf where they never do.

    A curve that moves away from the value never reaches it, even if it passed it long ago.
    """
    if form == "power":
        floor, scale, exponent, unit = (params_RK[:, k] for k in range(4))
        left = (1 - value if rising else value) - floor
        can = (left > 0) & (scale > 0)
        ratio = np.where(can, scale, 1.0) / np.where(can, left, 1.0)
        return np.where(can, unit * ratio ** (1 / exponent), np.inf)
    rate = params_RK[:, 1]
    can = rate > 0 if rising else rate < 0
    target = special.logit(value) if form == "logit-linear" else value
    place = (target - params_RK[:, 0]) / np.where(can, rate, 1.0)
    with np.errstate(over="ignore"):
        reached = np.maximum(place * 1e6, 0.0) if form == "linear" else 10.0**place
    return np.where(can, reached, np.inf)


def _abscissa(form: Form, tokens_N: np.ndarray) -> np.ndarray:
    return np.asarray(tokens_N / 1e6 if form == "linear" else np.log10(tokens_N))


def _fit_power(tokens_N: np.ndarray, loss_RN: np.ndarray) -> np.ndarray:
    """E, B, beta and the unit of tokens: E and B in closed form on a grid of exponents X."""
    unit = float(np.exp(np.log(tokens_N).mean()))
    rows_R = np.arange(len(loss_RN))
    best_R = np.full(len(loss_RN), np.inf)
    params_RK = np.zeros((len(loss_RN), 4))
    parts = -(-_EXPONENTS.size * loss_RN.size // MOST_AT_ONCE)
    for exponents_X in np.array_split(_EXPONENTS, min(parts, _EXPONENTS.size)):
        decay_XN = (tokens_N / unit) ** -exponents_X[:, None]
        floor_XCR, scale_XCR = _nonnegative_lines(decay_XN, loss_RN)
        made_XCRN = scale_XCR[..., None] * decay_XN[:, None, None] + floor_XCR[..., None]
        error_XCR = ((made_XCRN - loss_RN) ** 2).sum(-1)
        allowed_XCR = (floor_XCR >= 0) & (scale_XCR >= 0)
        error_XCR = np.where(allowed_XCR, error_XCR, np.inf).reshape(-1, len(loss_RN))
        least_R = error_XCR.argmin(0)
        better_R = error_XCR[least_R, rows_R] < best_R
        found_RK = np.stack(
            [
                floor_XCR.reshape(-1, len(loss_RN))[least_R, rows_R],
                scale_XCR.reshape(-1, len(loss_RN))[least_R, rows_R],
                exponents_X[least_R // floor_XCR.shape[1]],
                np.full(len(loss_RN), unit),
            ],
            axis=-1,
        )
        params_RK = np.where(better_R[:, None], found_RK, params_RK)
        best_R = np.where(better_R, error_XCR[least_R, rows_R], best_R)
    return params_RK


def _nonnegative_lines(decay_XN: np.ndarray, loss_RN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates (X, 3, R) for E + B * decay: free, E = 0, and B = 0; the best allowed counts."""
    centered_XN = decay_XN - decay_XN.mean(-1, keepdims=True)
    free_XR = centered_XN @ loss_RN.T / (centered_XN**2).sum(-1, keepdims=True)
    mean_XR = np.broadcast_to(loss_RN.mean(-1), free_XR.shape)
    from_zero_XR = decay_XN @ loss_RN.T / (decay_XN**2).sum(-1, keepdims=True)
    zero_XR = np.zeros_like(free_XR)
    floor_XCR = [mean_XR - free_XR * decay_XN.mean(-1, keepdims=True), zero_XR, mean_XR]
    scale_XCR = [free_XR, from_zero_XR, zero_XR]
    return np.stack(floor_XCR, axis=1), np.stack(scale_XCR, axis=1)


def held_out_error(
    form: Form, tokens_N: np.ndarray, values_N: np.ndarray, *, rising: bool
) -> float:
    """Distance from the value at the largest budget of a curve fitted without it.

    NaN when the remaining checkpoints are fewer than the parameters.
    """
    if len(tokens_N) - 1 < NUM_PARAMETERS[form]:
        return np.nan
    params_1K = fit(form, tokens_N[:-1], values_N[:-1], rising=rising)
    predicted = predict(form, params_1K, tokens_N[-1:], rising=rising)[0, 0]
    return float(abs(predicted - values_N[-1]))


def block_bootstrap(
    form: Form,
    tokens_N: np.ndarray,
    values_N: np.ndarray,
    *,
    rising: bool,
    replicates: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Parameters (R, K) refitted to moving blocks of residuals of one run.

    Neighboring checkpoints share their noise, so residuals are drawn in overlapping blocks of
    about N^(1/3); they are inflated by sqrt(N / (N - K)) for what the fit took from them.
    """
    num, num_params = len(tokens_N), NUM_PARAMETERS[form]
    params_1K = fit(form, tokens_N, values_N, rising=rising)
    fitted_N = predict(form, params_1K, tokens_N, rising=rising)[0]
    link = special.logit if form == "logit-linear" else np.asarray
    residual_N = (link(values_N) - link(fitted_N)) * np.sqrt(num / max(1, num - num_params))
    length = max(1, round(num ** (1 / 3)))
    rng = np.random.default_rng(seed)
    starts_RB = rng.integers(0, num - length + 1, (replicates, -(-num // length)))
    places_RN = (starts_RB[..., None] + np.arange(length)).reshape(replicates, -1)[:, :num]
    drawn_RN = residual_N[places_RN]
    made_RN = link(fitted_N) + drawn_RN - drawn_RN.mean()
    values_RN = special.expit(made_RN) if form == "logit-linear" else made_RN
    return fit(form, tokens_N, values_RN, rising=rising)
