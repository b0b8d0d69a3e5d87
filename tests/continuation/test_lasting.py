import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.continuation.lasting import mean_frames, spread_out
from ray_slm.continuation.speech import say_runs
from ray_slm.modalities.derived_units import Decoded, DedupTokenizer


class Kept:
    """A store of two utterances: units and how long each lasted."""

    vocab_size = 4
    rows = (([0, 1, 0], [2, 5, 4]), ([1, 2], [7, 1]))

    def __len__(self):
        return len(self.rows)

    def tokens(self, i):
        return np.array(self.rows[i][0], dtype=np.uint16)

    def frames(self, i):
        return np.array(self.rows[i][1], dtype=np.uint16)


def test_a_token_lasts_its_mean_and_an_unseen_one_that_of_all():
    np.testing.assert_allclose(mean_frames(Kept()), [3.0, 6.0, 1.0, 19 / 5])
    np.testing.assert_allclose(mean_frames(Kept(), enough=2), [3.0, 5.0, 11 / 3, 11 / 3])


def test_runs_share_the_frames_of_their_token():
    units_R, runs_T = np.array([7, 8, 9]), np.array([2, 1])
    said = spread_out(units_R, runs_T, np.array([5.0, 2.0]))
    assert said.tolist() == [7, 7, 8, 8, 8, 9, 9]


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(1.0, 30.0)), min_size=1, max_size=30))
def test_nothing_is_lost_and_the_whole_keeps_its_length(tokens):
    runs_T = np.array([runs for runs, _ in tokens])
    frames_T = np.array([max(frames, runs) for runs, frames in tokens])
    units_R = np.arange(runs_T.sum())
    said = spread_out(units_R, runs_T, frames_T)
    assert np.unique(said).tolist() == units_R.tolist()
    assert len(said) == pytest.approx(frames_T.sum(), abs=0.02 * frames_T.sum() + runs_T.sum() / 2)


class Echo:
    """A vocoder that gives back what it is told to say."""

    def speak(self, units_U):
        return units_U


def test_runs_are_spoken_by_the_vocoder_of_their_units():
    say = say_runs(Echo(), DedupTokenizer(4).decode, np.array([3.0, 1.0, 2.0, 1.0]))
    assert say(np.array([2, 0, 1])).waveform_S.tolist() == [2, 2, 0, 0, 0, 1]
    assert len(say(np.array([], dtype=np.int64)).waveform_S) == 0
    pieces = say_runs(Echo(), lambda ids: Decoded(np.array([5, 6]), np.array([2])), np.array([4.0]))
    assert pieces(np.array([0])).waveform_S.tolist() == [5, 5, 6, 6]
