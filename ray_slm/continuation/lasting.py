"""How long tokens without durations last: as long as they do on average in the training split.

Runs of units, and pieces of such runs, say what is spoken and not for how long.  The rule is the
same for what a model said and for what really followed, so the chain's own errors include it.
Legend: V vocabulary, T tokens, R runs of equal units, U units of 20 ms.
"""

import numpy as np

from ray_slm.tokens import TokenStore

ENOUGH_TOKENS = 2_000_000  # of the training split, in order of id


def mean_frames(store: TokenStore, enough: int = ENOUGH_TOKENS) -> np.ndarray:
    """Mean frames of each token (V,); those never seen last as long as all do on average.

    Raises ValueError where the store keeps no run lengths.
    """
    frames_V, counts_V = (np.zeros(store.vocab_size) for _ in range(2))
    for number in range(len(store)):
        ids_T = store.tokens(number)
        frames_V += np.bincount(ids_T, store.frames(number), store.vocab_size)
        counts_V += np.bincount(ids_T, minlength=store.vocab_size)
        if counts_V.sum() >= enough:
            break
    common = frames_V.sum() / counts_V.sum()
    return np.where(counts_V > 0, frames_V / np.maximum(counts_V, 1), common)


def spread_out(units_R: np.ndarray, runs_T: np.ndarray, frames_T: np.ndarray) -> np.ndarray:
    """Each run's unit as often as it lasts (U,): a token's runs share its frames evenly.

    Rounding is carried on, so that the whole lasts as long as its tokens do; no run is lost.
    """
    frames_R = np.repeat(frames_T / np.maximum(runs_T, 1), runs_T)
    ends_R = np.round(np.cumsum(frames_R)).astype(np.int64)
    return np.repeat(units_R, np.maximum(np.diff(ends_R, prepend=0), 1))
