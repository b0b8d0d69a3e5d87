import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.modalities.sampling import sample_by_hash


def ids(utterances):
    return [utterance.id for utterance in utterances]


@given(order=st.permutations(range(30)), enough=st.integers(1, 40), seed=st.integers(0, 3))
def test_the_sample_depends_on_ids_and_seed_alone(speech, order, enough, seed):
    some = speech.utterances[:30]
    sample = sample_by_hash([some[i] for i in order], enough, lambda _: 1, seed)
    assert ids(sample) == ids(sample_by_hash(some, enough, lambda _: 1, seed))
    assert ids(sample) == sorted(ids(sample))
    assert len(sample) == min(enough, 30)


@pytest.mark.parametrize("seconds", [5.0, 60.0, 100.0])
def test_a_larger_sample_holds_the_smaller_one_and_is_just_long_enough(speech, seconds):
    sample = sample_by_hash(speech.utterances, seconds, lambda u: u.duration, 0)
    longest = max(utterance.duration for utterance in speech.utterances)
    total = sum(utterance.duration for utterance in sample)
    assert seconds <= total < seconds + longest
    smaller = sample_by_hash(speech.utterances, seconds / 2, lambda u: u.duration, 0)
    assert set(ids(smaller)) < set(ids(sample))


def test_another_seed_gives_another_sample(speech):
    samples = [ids(sample_by_hash(speech.utterances, 20, lambda _: 1, seed)) for seed in (0, 1)]
    assert samples[0] != samples[1]
