import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.units.batches import BATCHES_AHEAD, Bucket, batches, read_ahead

BUCKETS = st.lists(st.integers(1, 6).map(lambda size: Bucket(size * 100, 7 // size)))


@given(buckets=BUCKETS)
def test_every_utterance_stands_in_one_batch_of_its_bucket(buckets):
    found = batches(buckets)
    assert sorted(i for group in found for i in group) == list(range(len(buckets)))
    for group in found:
        assert len({buckets[i] for i in group}) == 1
        assert len(group) <= buckets[group[0]].rows
    sizes = [buckets[group[0]].num_samples for group in found]
    assert sizes == sorted(sizes, reverse=True)


def test_groups_come_in_order_and_reading_keeps_a_bounded_distance():
    begun, lock = [], threading.Lock()

    def read(item):
        with lock:
            begun.append(item)
        return -item

    groups = [[i, i + 1] for i in range(0, 40, 2)]
    for number, found in enumerate(read_ahead(read, groups, threads=2)):
        assert found == [-i for i in groups[number]]
        with lock:
            assert max(begun) <= groups[min(number + BATCHES_AHEAD, len(groups) - 1)][-1]


def test_an_error_is_raised_where_its_group_is_due():
    def read(item):
        if item == 3:
            raise ValueError("3 is broken")
        return item

    stream = read_ahead(read, [[0], [1], [3], [4]], threads=1)
    assert [next(stream), next(stream)] == [[0], [1]]
    with pytest.raises(ValueError, match="3 is broken"):
        next(stream)
