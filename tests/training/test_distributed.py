"""Real processes over gloo: any number gives the losses of one, and one number the same bytes."""

import hashlib
import json
import multiprocessing

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ray_slm.training import order
from ray_slm.training import world as world_module
from ray_slm.training.journal import read_attempts
from ray_slm.training.loop import fit
from ray_slm.training.scale import Batching
from ray_slm.training.world import GradientSums, World, distributed_world
from tests.training.conftest import InMemory, make_run

SHORT = make_run(total_tokens=800, checkpoints=(0, 400, 800))
SHORT_STEPS = 7
NARROW = make_run(batching=Batching(utterances_per_step=1), total_tokens=200, checkpoints=())


class Killed(Exception):
    """Stands for a SIGKILL of every rank."""


class Events:
    def __init__(self, die_at_step):
        self.die_at_step = die_at_step

    def published(self, tokens, folder):
        assert folder.exists()

    def saved(self):
        pass

    def step(self, point):
        if point["step"] == self.die_at_step:
            raise Killed
        return False


def train_in(out, world, run, die_at_step=None):
    train, dev = InMemory("train", 30), InMemory("dev", 9)
    world = world._replace(resume_every_steps=3)
    try:
        fit(run, train, dev, out, scratch=out / "scratch", world=world, events=Events(die_at_step))
    except Killed:
        assert die_at_step


# What each number of workers does, one after the other: (folder, run, killed after which step).
KILLED_ANYWHERE = [
    part
    for step in range(1, SHORT_STEPS + 1)
    for part in ((f"killed-{step}", SHORT, step), (f"killed-{step}", SHORT, None))
]
RUNS = {
    4: [("four", make_run(), None), ("shrinking", make_run(), 7)],
    2: [
        ("shrinking", make_run(), 16),
        ("two", make_run(), None),
        ("short-two", SHORT, None),
        *KILLED_ANYWHERE,
        ("narrow-two", NARROW, None),
        ("growing", make_run(), 16),
    ],
}


def rank_main(rank, folder):
    """One rank's process: the runs of four workers, then, without the last two, of two."""
    torch.set_num_threads(1)
    world_module.BUCKET_ELEMENTS = 4096  # many buckets, whose sums overlap the backward pass
    for size, runs in RUNS.items():
        if rank >= size:
            break
        store = dist.FileStore(str(folder / f"rendezvous-{size}"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
        world = distributed_world(rank, size, torch.device("cpu"))
        for name, run, die_at_step in runs:
            train_in(folder / name, world, run, die_at_step)
            dist.barrier()
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of four workers, of two and of one; "shrinking" goes through all three numbers."""
    folder = tmp_path_factory.mktemp("distributed")
    torch.set_num_threads(1)
    train_in(folder / "growing", World(), make_run(), 7)
    multiprocessing.set_forkserver_preload([__name__])  # imported once, not four times
    mp.start_processes(rank_main, (folder,), nprocs=4, start_method="forkserver")
    train_in(folder / "one", World(), make_run())
    train_in(folder / "shrinking", World(), make_run())
    train_in(folder / "narrow-one", World(), NARROW)
    return folder


def read(folder, file, field):
    return [json.loads(line)[field] for line in (folder / file).read_text().splitlines()]


def losses(folder):
    return read(folder, "losses.jsonl", "loss")


def weights(folder):
    paths = sorted(folder.glob("checkpoint-*/model.safetensors"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.mark.parametrize("name", ["two", "four"])
def test_any_number_of_workers_gives_the_losses_of_one(name, folder):
    assert losses(folder / name) == pytest.approx(losses(folder / "one"), abs=1e-5)


def test_two_workers_measure_the_same_held_out_loss(folder):
    for field in ("nats_per_token", "bits_per_second"):
        one, two = (read(folder / name, "validation.jsonl", field) for name in ("one", "two"))
        assert two == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("step", range(1, SHORT_STEPS + 1))
def test_two_workers_killed_after_any_step_give_the_same_bytes(step, folder):
    expected, found = folder / "short-two", folder / f"killed-{step}"
    assert len(losses(expected)) == SHORT_STEPS
    assert losses(found) == losses(expected)
    assert len(weights(expected)) == 3
    assert weights(found) == weights(expected)
    assert set(read(found, "timing.jsonl", "attempt")) <= {1, 2}
    assert read(found, "timing.jsonl", "attempt")[-1] == 2


def test_a_run_goes_on_with_fewer_and_fewer_workers(folder):
    """Four, then two, then one; what is redone after a death stays within an interval."""
    assert losses(folder / "shrinking") == pytest.approx(losses(folder / "one"), abs=1e-5)
    attempts = read(folder / "shrinking", "timing.jsonl", "attempt")
    assert attempts == sorted(attempts)
    assert [attempts.index(number) for number in (1, 2, 3)] == [0, 1 + 6, 1 + 1 + 15]


def test_a_run_of_one_worker_can_go_on_with_two(folder):
    expected = losses(folder / "one")
    lines = [line for attempt in read_attempts(folder / "growing" / "scratch") for line in attempt]
    steps = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert len(steps) == 16
    assert list(steps.values()) == pytest.approx(expected[:16], abs=1e-5)


def test_a_rank_without_utterances_takes_part(folder):
    assert losses(folder / "narrow-two") == pytest.approx(losses(folder / "narrow-one"), abs=1e-5)


def test_sums_start_as_soon_as_a_bucket_is_full_and_in_one_order():
    """On every rank alike, or ranks would add up different gradients."""
    parameters = [torch.nn.Parameter(torch.ones(n)) for n in (3, 5, 7)]
    log = []

    def start_sum(flat):
        log.append(("start", flat.numel()))
        return lambda: log.append(("wait", flat.numel()))

    sums = GradientSums(parameters, World(size=2, start_sum=start_sum))
    sums.arm()
    sum((p * p).sum() for p in parameters).backward()
    assert log == [("start", 15)]  # one bucket, before anyone asked for it
    sums.finish()
    assert log == [("start", 15), ("wait", 15)]
    assert all(torch.equal(p.grad, 2 * torch.ones_like(p)) for p in parameters)
    sums.finish()  # a step in which this rank has nothing
    assert log[2:] == [("start", 15), ("wait", 15)]


def test_each_step_reads_the_same_utterances_at_any_world_size():
    train = InMemory("train", 30)
    for step in range(20):
        batch = order.batch(5, 4 * step, train.lengths, Batching(utterances_per_step=4))
        expected = order.digest(train.ids[i] for i in batch)
        for size in (1, 2, 4):
            shares = order.split(batch, train.lengths[batch], size)
            assert order.digest(train.ids[i] for share in shares for i in share) == expected
