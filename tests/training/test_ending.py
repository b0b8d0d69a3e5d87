"""Ends that are fixed beforehand: exact epochs, patience, branches that cool down."""

import contextlib
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_slm.training import ending, packing
from ray_slm.training.loop import fit
from ray_slm.training.objective import Validation
from ray_slm.training.scale import Batching, Ending, Optimizer
from ray_slm.training.trainer import Trainer
from ray_slm.training.world import World

FLAT = Optimizer(peak_lr=3e-3, schedule="wsd-branches", warmup_fraction=0.0)


class Killed(Exception):
    """Stands for a SIGKILL."""


class Listening:
    """Notes what was published; raises after one step if asked."""

    def __init__(self, die_at_step=None):
        self.folders, self.die_at_step = [], die_at_step

    def published(self, tokens, folder):
        self.folders.append(folder.name)

    def saved(self):
        pass

    def step(self, point):
        if point["step"] == self.die_at_step:
            raise Killed
        return False


def train_in(folder, run, train, dev, events=None, **options):
    world = World(resume_every_steps=3)
    return fit(run, train, dev, folder, scratch=folder / "s", world=world, events=events, **options)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def about(folder, tokens):
    return json.loads((folder / f"checkpoint-{tokens:012d}" / "trainer.json").read_text())


@pytest.mark.parametrize("epochs", [1, 2])
def test_exact_epochs_read_every_utterance_so_many_times(epochs, run, train):
    trainer = Trainer(run(ending=Ending(epochs=epochs)), train, World())
    read = Counter()
    while not trainer.ended:
        before = trainer.progress.utterances
        trainer.step()
        read.update(trainer.feed.take(before).indices.tolist())
    trainer.feed.close()
    assert read == dict.fromkeys(range(len(train)), epochs)
    assert trainer.progress.tokens == epochs * packing.num_targets(train.lengths).sum()


def test_the_last_checkpoint_of_an_exact_epoch_is_its_end(run, train, dev, tmp_path):
    per_epoch = int(packing.num_targets(train.lengths).sum())
    for scheduled in (per_epoch // 2, 3 * per_epoch):  # told too short, and too long
        values = {"checkpoints": (0, 100, scheduled), "total_tokens": scheduled}
        folder = tmp_path / str(scheduled)
        summary = train_in(folder, run(ending=Ending(epochs=1), **values), train, dev)
        assert summary.tokens == about(folder, scheduled)["tokens"] == per_epoch
        assert about(folder, scheduled)["epochs"] == 1
        assert 100 <= about(folder, 100)["tokens"] < 300


@pytest.mark.parametrize("schedule", ["wsd", "wsd-s", "cosine"])
def test_schedules_end_with_the_epoch(schedule, run, train, dev, tmp_path):
    optimizer = Optimizer(peak_lr=3e-3, schedule=schedule)
    values = {"optimizer": optimizer, "checkpoints": (0, 500, 9000), "total_tokens": 9000}
    train_in(tmp_path, run(ending=Ending(epochs=1), **values), train, dev)
    rates = [line["lr"] for line in lines(tmp_path / "losses.jsonl")]
    assert rates[-1] < 0.5 * max(rates)


def validation(tokens, nats):
    return Validation(tokens // 10, tokens, nats, 0.0)


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        ([3.0, 2.0, 2.1, 2.2], True),
        ([3.0, 2.0, 2.1, 1.9], False),
        ([3.0, 2.0, 1.9, 1.8], False),
        ([3.0, 2.0], False),
        ([2.0, 2.0, 2.0], True),  # what is not better is no gain
    ],
)
def test_patience_is_a_rule_over_validations(nats, expected):
    rule = Ending(patience=2, validate_fraction=0.1, patience_from_epoch=0.0)
    seen = [validation(100 * (i + 1), value) for i, value in enumerate(nats)]
    assert ending.gave_up(rule, 1000, seen) is expected


def test_patience_begins_after_its_epoch_and_asks_for_a_gain():
    seen = [validation(t, 2.0 - t / 10_000) for t in (100, 200, 300)]
    for from_epoch, min_gain, expected in ((0.0, 0.1, True), (1.0, 0.1, False), (0.0, 0.0, False)):
        rule = Ending(
            patience=2, validate_fraction=0.1, patience_from_epoch=from_epoch, min_gain=min_gain
        )
        assert ending.gave_up(rule, 1000, seen) is expected


def test_a_run_that_gives_up_publishes_what_was_scheduled_and_resumes_alike(
    run, train, dev, tmp_path
):
    rule = Ending(patience=2, validate_fraction=0.1, patience_from_epoch=0.0, min_gain=9.0)
    early = run(ending=rule, validate_every_tokens=250)
    summary = train_in(tmp_path / "whole", early, train, dev)
    assert summary.tokens < 1000 < 2500
    assert about(tmp_path / "whole", 2500)["tokens"] == summary.tokens
    assert about(tmp_path / "whole", 2500)["scheduled_tokens"] == 2500
    with pytest.raises(Killed):
        train_in(tmp_path / "k", early, train, dev, Listening(die_at_step=summary.steps))
    assert train_in(tmp_path / "k", early, train, dev) == summary._replace(attempts=2)
    assert about(tmp_path / "k", 2500) == about(tmp_path / "whole", 2500)


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"patience": 0, "validate_fraction": 0.1},
        {"patience": 2},
        {"validate_fraction": 2.0},
    ],
)
def test_rules_that_cannot_be_followed_are_refused(values):
    with pytest.raises(ValueError, match=r"epochs|patience|validate_fraction"):
        Ending(**values)


@pytest.fixture
def trunk(run, train, dev, tmp_path):
    """A trunk with two forks, and what it told."""
    heard = Listening()
    values = {"optimizer": FLAT, "total_tokens": 1600, "checkpoints": (0,)}
    train_in(tmp_path / "trunk", run(forks=(800, 1600), **values), train, dev, heard)
    return heard


def test_a_trunk_holds_the_peak_and_leaves_its_state(trunk, tmp_path):
    assert trunk.folders == [f"checkpoint-{0:012d}", f"fork-{800:012d}", f"fork-{1600:012d}"]
    assert {line["lr"] for line in lines(tmp_path / "trunk" / "losses.jsonl")} == {3e-3}


@pytest.mark.parametrize("end", [1000, 2000])
def test_a_branch_is_the_run_that_cools_down_once(end, trunk, run, train, dev, tmp_path):
    """Warm-up apart, each branch has the losses of a plain WSD run of its length."""
    fork = round(0.8 * end)
    branch = run(optimizer=FLAT, total_tokens=end, checkpoints=(end,), forked_at=fork)
    state = tmp_path / "trunk" / f"fork-{fork:012d}"
    train_in(tmp_path / "branch", branch, train, dev, fork=state)
    plain = Optimizer(peak_lr=3e-3, schedule="wsd", warmup_fraction=0.0)
    straight = run(optimizer=plain, total_tokens=end, checkpoints=(end,))
    train_in(tmp_path / "straight", straight, train, dev)
    mine, theirs = (lines(tmp_path / name / "losses.jsonl") for name in ("branch", "straight"))
    assert 0 < len(mine) < len(theirs)
    for one, other in zip(mine, theirs[-len(mine) :], strict=True):
        assert one == pytest.approx(other, rel=1e-6)
    assert about(tmp_path / "branch", end)["tokens"] == about(tmp_path / "straight", end)["tokens"]


def test_a_killed_branch_resumes_from_itself(trunk, run, train, dev, tmp_path):
    branch = run(optimizer=FLAT, total_tokens=1000, checkpoints=(1000,), forked_at=800)
    state = tmp_path / "trunk" / f"fork-{800:012d}"
    train_in(tmp_path / "whole", branch, train, dev, fork=state)
    steps = [line["step"] for line in lines(tmp_path / "whole" / "losses.jsonl")]
    with pytest.raises(Killed):
        train_in(tmp_path / "k", branch, train, dev, Listening(steps[-1]), fork=state)
    train_in(tmp_path / "k", branch, train, dev, fork=state)
    for name in ("losses.jsonl", f"checkpoint-{1000:012d}/model.safetensors"):
        assert (tmp_path / "k" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_killed_trunk_leaves_the_same_states(trunk, run, train, dev, tmp_path):
    values = {"optimizer": FLAT, "total_tokens": 1600, "checkpoints": (0,)}
    again = run(forks=(800, 1600), **values)
    for step in (5, 9, 12):
        with pytest.raises(Killed):
            train_in(tmp_path / "k", again, train, dev, Listening(die_at_step=step))
    train_in(tmp_path / "k", again, train, dev)
    for fork in (800, 1600):
        for name in ("model.safetensors", "optimizer.safetensors"):
            one, other = (tmp_path / t / f"fork-{fork:012d}" / name for t in ("trunk", "k"))
            assert one.read_bytes() == other.read_bytes()


def test_token_budgets_cut_steps_by_tokens(run, train):
    trainer = Trainer(run(batching=Batching(tokens_per_step=120)), train, World())
    sizes, read = [], 0
    for _ in range(12):
        before = trainer.progress
        trainer.step()
        sizes.append(trainer.progress.tokens - before.tokens)
        read += trainer.progress.utterances - before.utterances
    trainer.feed.close()
    assert max(sizes) <= 120
    assert sum(sizes) / len(sizes) > 80
    assert read == trainer.progress.utterances


@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kills=st.lists(st.integers(1, 9), max_size=3),
    every=st.integers(1, 4),
    batching=st.sampled_from(
        [
            Batching(utterances_per_step=4),
            Batching(tokens_per_step=110),
            Batching(utterances_per_step=3, pad_to_window=True),
        ]
    ),
    schedule=st.sampled_from(["wsd", "wsd-s", "cosine"]),
    epochs=st.sampled_from([None, 1]),
)
def test_kills_anywhere_leave_the_bytes_of_an_undisturbed_run(
    kills, every, batching, schedule, epochs, run, train, dev, tmp_path_factory
):
    """Whatever is trained, however often it dies, and wherever it saved."""
    settled = run(
        batching=batching,
        optimizer=Optimizer(peak_lr=3e-3, schedule=schedule),
        ending=Ending(epochs=epochs),
        total_tokens=700,
        checkpoints=(0, 300, 700),
    )
    whole, torn = (tmp_path_factory.mktemp(name) for name in ("whole", "torn"))
    summary = train_in(whole, settled, train, dev)
    world = World(resume_every_steps=every)
    for step in kills:
        with contextlib.suppress(Killed):
            events = Listening(die_at_step=step)
            fit(settled, train, dev, torn, scratch=torn / "s", world=world, events=events)
    resumed = fit(settled, train, dev, torn, scratch=torn / "s", world=world)
    assert resumed._replace(attempts=1) == summary
    for path in whole.rglob("*"):
        scratch = path.relative_to(whole).parts[0] == "s"
        if path.is_file() and not scratch and not path.name.startswith("timing"):
            assert (torn / path.relative_to(whole)).read_bytes() == path.read_bytes(), path.name
