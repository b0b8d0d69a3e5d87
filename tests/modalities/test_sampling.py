import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.corpora.utterance import as_table
from ray_slm.modalities.sampling import one_each, sample_by_hash, samples_of_audio
from tests.modalities.conftest import tables


def ids(table):
    return table["id"].to_pylist()


def by_hash(utterances, enough, weight, seed):
    """The same rule, said row by row: the smallest hashes until there is enough."""

    def seeded_hash(utterance):
        digest = hashlib.sha256(f"{seed}\n{utterance.id}".encode()).digest()
        return int.from_bytes(digest[:8], "big")

    chosen, total = [], 0
    for utterance in sorted(utterances, key=seeded_hash):
        if total >= enough:
            break
        chosen.append(utterance.id)
        total += weight(utterance)
    return sorted(chosen)


@given(order=st.permutations(range(30)), enough=st.integers(1, 40), seed=st.integers(0, 3))
def test_the_sample_depends_on_ids_and_seed_alone(speech, order, enough, seed):
    some = speech.utterances[:30]
    shuffled = [as_table([some[i] for i in order[j : j + 7]]) for j in range(0, 30, 7)]
    sample = sample_by_hash(shuffled, enough, one_each, seed)
    assert ids(sample) == by_hash(some, enough, lambda _: 1, seed)
    assert len(sample) == min(enough, 30)


@pytest.mark.parametrize("seconds", [5, 60, 100, 10_000])
def test_a_larger_sample_holds_the_smaller_one_and_is_just_long_enough(speech, seconds):
    def chosen(enough):
        return ids(sample_by_hash(tables(speech.utterances), enough, samples_of_audio, 0))

    found = chosen(seconds * 16_000)
    assert found == by_hash(speech.utterances, seconds * 16_000, lambda u: u.num_samples, 0)
    assert set(chosen(seconds * 8_000)) <= set(found)


def test_another_seed_gives_another_sample(speech):
    samples = [ids(sample_by_hash(tables(speech.utterances), 20, one_each, s)) for s in (0, 1)]
    assert samples[0] != samples[1]


def test_the_sample_is_all_that_is_held(speech):
    """Of many tables in turn no more than twice the sample is alive."""
    table = as_table(speech.utterances)

    def many():
        for i in range(200):
            names = pa.array([f"{name}-{i}" for name in ids(table)])
            yield table.set_column(0, "id", names)

    pa.default_memory_pool().release_unused()
    before, peak = pa.total_allocated_bytes(), 0

    def weight(kept):
        nonlocal peak
        peak = max(peak, pa.total_allocated_bytes() - before)
        return np.ones(len(kept), dtype=np.int64)

    assert len(sample_by_hash(many(), 100, weight, 0)) == 100
    assert peak < 12 * table.nbytes
