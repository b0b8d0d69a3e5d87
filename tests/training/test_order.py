import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.training import order
from ray_slm.training.scale import Batching


def batch(seed, step, num_utterances, per_step):
    """What step ``step`` (from 0) reads."""
    batching = Batching(utterances_per_step=per_step)
    return order.batch(seed, step * per_step, np.ones(num_utterances), batching)


FIRST = [4, 8, 0, 1, 7, 6, 2, 5, 3, 9]


@settings(deadline=None)
@given(st.integers(0, 10), st.integers(1, 60), st.integers(1, 90))
def test_steps_read_every_utterance_once_per_epoch(seed, num_utterances, per_step):
    num_steps = -(-3 * num_utterances // per_step)
    batches = [batch(seed, step, num_utterances, per_step) for step in range(num_steps)]
    assert all(len(batch) == per_step for batch in batches)
    stream = np.concatenate(batches)
    for epoch in range(3):
        part = stream[epoch * num_utterances : (epoch + 1) * num_utterances]
        assert sorted(part) == list(range(num_utterances))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [tuple(order.permutation(seed, epoch, 50)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_the_order_never_changes():
    assert order.permutation(0, 0, 10).tolist() == FIRST
    assert batch(0, 0, 10, 4).tolist() == FIRST[:4]


def test_an_order_looks_shuffled():
    places = np.concatenate([order.permutation(seed, 0, 100)[:1] for seed in range(400)])
    assert 40 < places.mean() < 60
    assert len(set(places.tolist())) > 80


def test_a_split_without_utterances_is_refused():
    with pytest.raises(ValueError, match="no training utterances"):
        batch(0, 0, 0, 4)


@settings(deadline=None)
@given(st.lists(st.integers(1, 900), min_size=1, max_size=64), st.integers(1, 8))
def test_ranks_share_a_batch_without_loss(lengths, size):
    indices = np.arange(len(lengths)) + 7
    shares = order.split(indices, lengths, size)
    assert len(shares) == size
    assert sorted(np.concatenate(shares)) == sorted(indices)


@settings(deadline=None)
@given(st.lists(st.integers(1, 900), min_size=1, max_size=64), st.integers(1, 8))
def test_no_rank_has_more_than_the_shortest_of_its_utterances_above_another(lengths, size):
    shares = order.split(np.arange(len(lengths)), lengths, size)
    loads = [sum(lengths[i] for i in share) for share in shares]
    for share, load in zip(shares, loads, strict=True):
        if len(share):
            assert load - min(lengths[i] for i in share) <= min(loads)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 20))
def test_the_digest_of_a_batch_is_the_same_at_any_world_size(size, step):
    ids = [f"u{i}" for i in range(40)]
    read = batch(3, step, 40, 16)
    shares = order.split(read, np.arange(1, 17), size)
    split_digest = order.digest(ids[i] for share in shares for i in share)
    assert split_digest == order.digest(ids[i] for i in read)


def test_different_batches_have_different_digests():
    ids = [f"u{i}" for i in range(40)]
    digests = {order.digest(ids[i] for i in batch(3, step, 40, 8)) for step in range(5)}
    assert len(digests) == 5
