"""Other layouts of the same batch: equal losses, equal gradients; and where wall time went."""

import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.training import goodput, packing
from ray_slm.training.feed import Feed, prepare
from ray_slm.training.scale import Batching
from ray_slm.training.trainer import Trainer
from ray_slm.training.world import World
from ray_slm.training.writing import Interval, Writer

PLAIN = World()


def gradients(run, train, world):
    """Loss and gradients of the first step."""
    trainer = Trainer(run, train, world)
    loss = float(trainer._accumulate(prepare(run, train, world, 0)))
    trainer.feed.close()
    return loss, {name: parameter.grad for name, parameter in trainer.named.items()}


@pytest.mark.parametrize(
    ("change", "world"),
    [
        ({"batching": Batching(utterances_per_step=4, pad_to_window=True)}, PLAIN),
        ({}, World(static_shapes=True, tokens_per_microbatch=128)),
        ({}, World(recompute=True)),
    ],
    ids=["padded to the window", "static shapes", "recomputed activations"],
)
def test_layout_and_memory_change_neither_loss_nor_gradients(change, world, run, train):
    expected, theirs = gradients(run(), train, PLAIN)
    found, ours = gradients(run(**change), train, world)
    assert found == pytest.approx(expected, rel=1e-6)
    for name, grad in ours.items():
        torch.testing.assert_close(grad, theirs[name], atol=1e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, as it compiles
def test_compiled_steps_of_one_shape_give_the_losses_of_plain_ones(run, train):
    """One graph without breaks serves all micro-batches."""
    counters = torch._dynamo.utils.counters
    counters.clear()
    compiled = World(compiled=True, static_shapes=True, tokens_per_microbatch=128)
    losses = []
    for world in (PLAIN, compiled):
        trainer = Trainer(run(), train, world)
        for _ in range(4):
            trainer.step()
        trainer.feed.close()
        losses.append([point.loss for point in trainer.points])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_padding_to_the_window_costs_what_it_did_in_the_paper(run, train):
    padded = run(batching=Batching(utterances_per_step=4, pad_to_window=True))
    assert prepare(padded, train, PLAIN, 0).slots == 4 * 64


def test_static_micro_batches_all_have_one_shape(run, train):
    world = World(static_shapes=True, tokens_per_microbatch=128)
    shapes = {
        (batch.ids_BT.shape, batch.bounds.shape)
        for cursor in range(0, 30, 4)
        for batch in prepare(run(), train, world, cursor).batches
    }
    assert shapes == {((2, 64), (16,))}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4))
def test_bounds_cut_the_rows_where_documents_change(rows):
    document_BT = np.array(rows)
    bounds = packing.bounds(document_BT)
    assert len(bounds) & (len(bounds) - 1) == 0
    assert bounds[0] == 0
    assert bounds[-1] == document_BT.size
    flat, row = document_BT.flatten(), np.arange(document_BT.size) // 6
    for start, end in itertools.pairwise(bounds):
        assert len(set(zip(flat[start:end], row[start:end], strict=True))) <= 1


def test_what_is_prepared_ahead_is_what_is_prepared_on_demand(run, train):
    feed = Feed(run(), train, PLAIN)
    cursor = 0
    for asked in (0, 4, 8, 20, 24, 4):  # 20 and 4 were not foreseen
        found, expected = feed.take(asked), prepare(run(), train, PLAIN, asked)
        assert found.indices.tolist() == expected.indices.tolist()
        assert found[1:4] == expected[1:4]
        for mine, theirs in zip(found.batches, expected.batches, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
        cursor = asked
    assert cursor == 4
    feed.close()


def test_jobs_of_the_writer_run_in_order_and_beside_training():
    writer, order, gate = Writer(), [], threading.Event()
    writer.submit(lambda: (gate.wait(10), order.append("first")))
    assert order == []  # training went on
    gate.set()
    writer.submit(lambda: order.append("second"))
    writer.wait()
    writer.close()
    assert order == ["first", "second"]


def test_what_fails_in_the_writer_ends_the_run():
    writer = Writer()

    def fail():
        raise OSError("no space left")

    writer.submit(fail)
    with pytest.raises(OSError, match="no space"):
        writer.submit(lambda: None)
    writer.close()


def test_dear_checkpoints_are_rare():
    cheap, dear = Interval.ideal_seconds(0.01), Interval.ideal_seconds(5.0)
    assert cheap < dear == pytest.approx(379.5, rel=0.01)  # the table of Young/Daly intervals
    assert 5.0 / dear < 0.03


def line(step, at, seconds, **more):
    point = {"step": step, "time": at, "seconds": seconds, "data_seconds": 0.1, "loss": 1.0}
    return point | more


def test_goodput_names_where_time_went():
    first = [
        {"step": 0, "time": 102.0, "event": "start", "init_seconds": 2.0},
        line(1, 106.0, 4.0),
        line(2, 107.0, 1.0),
        line(3, 108.0, 1.0),
        {"step": 3, "time": 108.5, "event": "checkpoint", "checkpoint_blocked_seconds": 0.5},
        line(4, 109.5, 1.0),
    ]
    second = [
        {"step": 3, "time": 121.0, "event": "start", "init_seconds": 1.0},
        line(4, 122.5, 1.5),
        line(5, 123.5, 1.0),
        line(6, 124.5, 1.0),
        {"step": 6, "time": 125.0, "validation_seconds": 0.5},
    ]
    found = goodput.goodput([first, second])
    assert found.wall == pytest.approx(25.0)
    assert found.init == pytest.approx(3.0)
    assert found.restart == pytest.approx(10.5)
    assert found.redone == pytest.approx(1.0)
    assert found.compile == pytest.approx(2.9 + 0.4)
    assert found.data_wait == pytest.approx(0.6)
    assert (found.checkpoint, found.validation) == (0.5, 0.5)
    assert found.productive == pytest.approx(9.5 - 0.6 - 3.3)
    assert sum(found[1:-1]) == pytest.approx(found.wall)


def test_a_run_without_words_has_no_goodput():
    assert goodput.goodput([[], []]).share == 0.0


HUNGRY = """
import resource, sys
import torch
from ray_slm.errors import ResourceError
from ray_slm.training.trainer import Trainer
from ray_slm.training.world import World
from tests.training.conftest import InMemory, make_run
from ray_slm.training.scale import Batching, Scale

torch.set_num_threads(1)
wide = Scale(name="wide", layers=2, heads=4, kv_heads=2, width=512, ffn=2048, window=256)
run = make_run(scale=wide, batching=Batching(utterances_per_step=4000))
trainer = Trainer(run, InMemory("train", 4000, shortest=200, longest=250), World(
    tokens_per_microbatch=1 << 20))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), -1))
try:
    trainer.step()
except ResourceError as error:
    print(error)
"""


def test_memory_that_does_not_suffice_is_answered_by_the_micro_batch_to_use():
    found = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True)
    assert "a micro-batch of 1048576 tokens of the scale 'wide' does not fit" in found.stdout, (
        found.stderr
    )
    assert "train_microbatch_tokens=524288" in found.stdout


def test_the_thread_of_a_feed_ends_with_it(run, train):
    before = threading.active_count()
    trainer = Trainer(run(), train, PLAIN)
    trainer.step()
    trainer.feed.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
