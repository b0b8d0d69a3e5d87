import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ray_slm.errors import DivergedError
from ray_slm.training import checkpoint, packing
from ray_slm.training.feed import prepare
from ray_slm.training.loop import fit
from ray_slm.training.model import open_model
from ray_slm.training.scale import Optimizer
from ray_slm.training.trainer import Trainer
from ray_slm.training.world import World

OFTEN = World(resume_every_steps=3)


class Killed(Exception):
    """Stands for a SIGKILL: nothing after it runs."""


class Recorder:
    """Remembers what it is told, and raises at one moment if asked."""

    def __init__(self, die_at_step=None, die_at_checkpoint=None):
        self.points, self.folders = [], []
        self.die_at_step, self.die_at_checkpoint = die_at_step, die_at_checkpoint

    def step(self, point):
        self.points.append(point)
        if point["step"] == self.die_at_step:
            raise Killed
        return False

    def saved(self):
        pass

    def published(self, tokens, folder):
        assert {path.name for path in folder.iterdir()} == {
            "config.json",
            "model.safetensors",
            "trainer.json",
        }
        self.folders.append((tokens, folder.name))
        if tokens == self.die_at_checkpoint:
            raise Killed


def train_in(folder, run, train, dev, world=OFTEN, events=None):
    return fit(run, train, dev, folder, scratch=folder / "scratch", world=world, events=events)


def digests(folder):
    """Content of everything a run leaves behind that holds no times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "scratch" not in path.parts and not path.name.startswith("timing")
    }


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def undisturbed(run, train, dev, tmp_path):
    """A whole run: (summary, digests)."""
    summary = train_in(tmp_path / "undisturbed", run(), train, dev)
    return summary, digests(tmp_path / "undisturbed")


def test_training_learns_and_leaves_the_promised_files(run, train, dev, tmp_path):
    events = Recorder()
    summary = train_in(tmp_path, run(), train, dev, events=events)
    names = ["checkpoint-000000000000", "checkpoint-000000001000", "checkpoint-000000002500"]
    assert events.folders == list(zip((0, 1000, 2500), names, strict=True))
    assert {path.name for path in tmp_path.iterdir()} == {
        *names,
        "losses.jsonl",
        "validation.jsonl",
        "timing.json",
        "timing.jsonl",
        "scratch",
    }
    losses = lines(tmp_path / "losses.jsonl")
    assert losses == events.points
    assert [row["step"] for row in losses] == list(range(1, summary.steps + 1))
    held_out = [row["nats_per_token"] for row in lines(tmp_path / "validation.jsonl")]
    assert len(held_out) == 3
    assert held_out[0] == pytest.approx(np.log(21), rel=0.05)  # 20 units and EOS, untrained
    assert held_out[-1] < held_out[0] - 0.5
    assert held_out[-1] == summary.nats_per_token


def test_tokens_are_targets_and_checkpoints_come_at_the_first_boundary(run, train, dev, tmp_path):
    summary = train_in(tmp_path, run(), train, dev)
    losses = lines(tmp_path / "losses.jsonl")
    assert losses[-1]["tokens"] == summary.tokens >= 2500 > losses[-2]["tokens"]
    about = json.loads((tmp_path / "checkpoint-000000001000" / "trainer.json").read_text())
    first = next(row for row in losses if row["tokens"] >= 1000)
    assert (about["step"], about["tokens"]) == (first["step"], first["tokens"])
    whole_epochs, rest = divmod(summary.utterances, len(train))
    assert about["scheduled_tokens"] == 1000
    per_epoch = int(packing.num_targets(train.lengths).sum())
    assert whole_epochs * per_epoch <= summary.tokens
    assert rest or summary.tokens == whole_epochs * per_epoch
    assert summary.seconds_of_audio == pytest.approx((320 * summary.tokens) / 16_000, rel=0.05)


def test_a_run_killed_after_any_step_resumes_to_the_same_bytes(run, train, dev, tmp_path):
    short = run(total_tokens=1000, checkpoints=(0, 400, 1000))
    summary = train_in(tmp_path / "whole", short, train, dev)
    expected = digests(tmp_path / "whole")
    assert summary.steps >= 8
    for step in range(1, summary.steps + 1):
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(Killed):
            train_in(folder, short, train, dev, events=Recorder(die_at_step=step))
        again = Recorder()
        resumed = train_in(folder, short, train, dev, events=again)
        assert digests(folder) == expected, f"killed after step {step}"
        assert resumed == summary._replace(attempts=2)
        assert len(again.points) <= summary.steps - step + 3  # no more than an interval is redone


@pytest.mark.parametrize("tokens", [0, 1000, 2500])
def test_a_run_killed_while_publishing_tells_of_it_again(
    tokens, undisturbed, run, train, dev, tmp_path
):
    with pytest.raises(Killed):
        train_in(tmp_path / "k", run(), train, dev, events=Recorder(die_at_checkpoint=tokens))
    again = Recorder()
    train_in(tmp_path / "k", run(), train, dev, events=again)
    assert [t for t, _ in again.folders] == [t for t in (0, 1000, 2500) if t >= tokens]
    assert digests(tmp_path / "k") == undisturbed[1]


def test_a_run_killed_again_and_again_still_ends_the_same(undisturbed, run, train, dev, tmp_path):
    summary, expected = undisturbed
    kills = range(4, summary.steps, 4)
    for step in kills:
        with pytest.raises(Killed):
            train_in(tmp_path / "k", run(), train, dev, events=Recorder(die_at_step=step))
    resumed = train_in(tmp_path / "k", run(), train, dev)
    assert digests(tmp_path / "k") == expected
    assert resumed.attempts == len(kills) + 1 > 3


@pytest.mark.parametrize("kind", ["cut", "manifest"])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    kind, undisturbed, run, train, dev, tmp_path
):
    with pytest.raises(Killed):
        train_in(tmp_path / "k", run(), train, dev, events=Recorder(die_at_step=8))
    *_, newest = sorted((tmp_path / "k" / "scratch" / "resume").iterdir())
    if kind == "cut":
        weights = (newest / "optimizer.safetensors").read_bytes()
        (newest / "optimizer.safetensors").write_bytes(weights[: len(weights) // 2])
    else:
        (newest / "manifest.json").unlink()
    resumed = train_in(tmp_path / "k", run(), train, dev)
    (reason,) = resumed.rejected
    assert newest.name in reason
    assert ("optimizer.safetensors" if kind == "cut" else "manifest.json is missing") in reason
    assert digests(tmp_path / "k") == undisturbed[1]


def test_without_any_valid_checkpoint_the_run_starts_anew(undisturbed, run, train, dev, tmp_path):
    with pytest.raises(Killed):
        train_in(tmp_path / "k", run(), train, dev, events=Recorder(die_at_step=8))
    for folder in (tmp_path / "k" / "scratch" / "resume").iterdir():
        (folder / "model.safetensors").unlink()
    resumed = train_in(tmp_path / "k", run(), train, dev)
    assert len(resumed.rejected) == 2
    assert digests(tmp_path / "k") == undisturbed[1]


def test_checkpoints_of_another_run_are_not_used(run, train, dev, tmp_path):
    with pytest.raises(Killed):
        train_in(tmp_path / "k", run(), train, dev, events=Recorder(die_at_step=5))
    events = Recorder()
    summary = train_in(tmp_path / "k", run(seed=6), train, dev, events=events)
    assert events.points[0]["step"] == 1
    assert all("belongs to run" in reason for reason in summary.rejected)


def test_a_finished_run_has_nothing_left_to_do(undisturbed, run, train, dev, tmp_path):
    events = Recorder()
    again = train_in(tmp_path / "undisturbed", run(), train, dev, events=events)
    assert events.points == events.folders == []
    assert again == undisturbed[0]._replace(attempts=2)
    assert digests(tmp_path / "undisturbed") == undisturbed[1]


def test_two_resume_checkpoints_are_kept(run, train, dev, tmp_path):
    summary = train_in(tmp_path, run(), train, dev, world=World(resume_every_steps=1))
    names = sorted(path.name for path in (tmp_path / "scratch" / "resume").iterdir())
    assert names == [f"step-{step:09d}-0001" for step in (summary.steps - 1, summary.steps)]


def test_an_urgent_checkpoint_is_written_at_once(run, train, dev, tmp_path):
    class Preempted(Recorder):
        def step(self, point):
            return super().step(point) or point["step"] == 4

    with pytest.raises(Killed):
        train_in(tmp_path, run(), train, dev, World(), Preempted(die_at_step=5))
    again = Recorder()
    train_in(tmp_path, run(), train, dev, World(), again)
    assert again.points[0]["step"] == 5


def test_global_random_state_has_no_part_in_a_run(undisturbed, run, train, dev, tmp_path):
    torch.manual_seed(123)
    np.random.seed(123)
    train_in(tmp_path / "other", run(), train, dev)
    assert digests(tmp_path / "other") == undisturbed[1]


def test_seeds_differ(run, train, dev, tmp_path):
    for seed in (1, 2):
        train_in(tmp_path / str(seed), run(seed=seed), train, dev)
    first, second = (lines(tmp_path / str(seed) / "losses.jsonl") for seed in (1, 2))
    assert first[0]["loss"] != second[0]["loss"]


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"optimizer": "cosine"}])
def test_other_precisions_and_schedules_resume_too(change, run, train, dev, tmp_path):
    if "optimizer" in change:
        change = {"optimizer": Optimizer(peak_lr=3e-3, schedule="cosine", min_lr_fraction=0.1)}
    train_in(tmp_path / "whole", run(**change), train, dev)
    with pytest.raises(Killed):
        train_in(tmp_path / "k", run(**change), train, dev, events=Recorder(die_at_step=8))
    train_in(tmp_path / "k", run(**change), train, dev)
    assert digests(tmp_path / "k") == digests(tmp_path / "whole")


def test_micro_batches_change_losses_by_rounding_alone(run, train, dev, tmp_path):
    for tokens in (64, 4096):
        world = World(tokens_per_microbatch=tokens)
        train_in(tmp_path / str(tokens), run(), train, dev, world)
    few, many = (lines(tmp_path / name / "losses.jsonl") for name in ("64", "4096"))
    for a, b in zip(few, many, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


def test_a_diverging_run_stops_before_the_step_and_names_the_utterances(run, train, dev, tmp_path):
    wild = run(optimizer=Optimizer(peak_lr=1e18, warmup_fraction=0.0, clip_norm=1e18))
    events = Recorder()
    with pytest.raises(ValueError, match=r"step \d+: the loss is .*train-00\d\d, train-00\d\d"):
        train_in(tmp_path, wild, train, dev, events=events)
    assert all(np.isfinite(point["loss"]) for point in events.points)


def test_a_refused_step_leaves_the_weights_alone(run, train):
    wild = run(optimizer=Optimizer(peak_lr=1e18, warmup_fraction=0.0, clip_norm=1e18))
    trainer = Trainer(wild, train, World())
    trainer.step()
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    with pytest.raises(ValueError, match="step 2: the loss is"):
        trainer.step()
    assert all(torch.equal(w, before[n]) for n, w in trainer.model.state_dict().items())
    assert trainer.progress.step == 1


def test_published_weights_score_as_validation_says(run, train, dev, tmp_path):
    train_in(tmp_path, run(), train, dev)
    model = open_model(tmp_path / "checkpoint-000000002500")
    total = of_units = 0.0
    for index in range(len(dev)):
        stream = torch.tensor([20, *dev.tokens(index).tolist(), 21])
        ids, targets = stream[None, :-1], stream[1:]
        logits = model(ids, torch.arange(len(targets))[None], torch.zeros_like(ids))[0]
        possible = [*range(20), 21]
        log_p = torch.full_like(logits, float("nan"))
        log_p[:, possible] = logits[:, possible].log_softmax(-1)
        nats = -log_p[torch.arange(len(targets)), targets]
        total += nats.sum().item()
        of_units += nats[:-1].sum().item()
    about = json.loads((tmp_path / "checkpoint-000000002500" / "trainer.json").read_text())
    num_targets = int(packing.num_targets(dev.lengths).sum())
    assert about["nats_per_token"] == pytest.approx(total / num_targets, rel=1e-5)
    seconds = dev.num_samples.sum() / 16_000
    assert about["bits_per_second"] == pytest.approx(of_units / np.log(2) / seconds, rel=1e-5)


def test_held_out_loss_is_measured_between_checkpoints_too(run, train, dev, tmp_path):
    train_in(tmp_path, run(validate_every_tokens=500), train, dev)
    tokens = [row["tokens"] for row in lines(tmp_path / "validation.jsonl")]
    assert [t // 500 for t in tokens] == [0, 1, 2, 3, 4, 5]


def test_a_run_without_checkpoints_still_measures_its_end(run, train, dev, tmp_path):
    summary = train_in(tmp_path, run(checkpoints=()), train, dev)
    (row,) = lines(tmp_path / "validation.jsonl")
    assert row["nats_per_token"] == summary.nats_per_token


def test_one_step_may_publish_several_checkpoints(run, train, dev, tmp_path):
    train_in(tmp_path, run(checkpoints=(1, 2, 3), total_tokens=10), train, dev)
    abouts = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/trainer.json"))]
    assert [about["scheduled_tokens"] for about in abouts] == [1, 2, 3]
    assert {about["step"] for about in abouts} == {1}


def test_documents_longer_than_the_window_are_counted(run, documents, dev, tmp_path):
    long = documents("train", 10, shortest=60, longest=90)
    summary = train_in(tmp_path, run(total_tokens=300, checkpoints=()), long, dev)
    assert summary.num_split == int((long.lengths + 1 > 64).sum()) > 0


def test_timing_figures_are_kept_apart(run, train, dev, tmp_path):
    with pytest.raises(Killed):
        train_in(tmp_path, run(), train, dev, events=Recorder(die_at_step=8))
    summary = train_in(tmp_path, run(), train, dev)
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert timing["attempts"] == 2
    assert timing["steps"] == summary.steps
    assert timing["tokens_per_second"] > 0
    assert 0 < timing["data_share"] < 1
    assert 0 < timing["mfu"] < 1
    assert 0 <= timing["padding_share"] < 0.5
    points = lines(tmp_path / "timing.jsonl")
    assert [p["tokens"] for p in points if "nats_per_token" in p] == [
        p["tokens"] for p in lines(tmp_path / "validation.jsonl")
    ]
    (spent,) = [p for p in points if "goodput_share" in p]  # trackers read it there
    assert spent["goodput_restart"] == timing["goodput"]["restart"] > 0
    assert 0 < spent["goodput_share"] < 1
    rows = [point for point in points if "loss" in point]
    assert [row["step"] for row in rows] == list(range(1, summary.steps + 1))
    assert all({"time", "tokens", "loss", "attempt", "seconds"} <= set(row) for row in rows)


def test_impossible_runs_are_refused_all_errors_at_once(run):
    with pytest.raises(ValueError, match=r"total_tokens is 0.*must rise.*precision is 'fp8'"):
        run(total_tokens=0, checkpoints=(5, 1), precision="fp8")
    with pytest.raises(ValueError, match="beyond the end"):
        run(total_tokens=10, checkpoints=(11,))


def test_unusable_documents_are_refused(run, train, dev, documents, tmp_path):
    with pytest.raises(ValueError, match="dev split has no documents"):
        train_in(tmp_path, run(), train, documents("none", 0))
    with pytest.raises(ValueError, match="30 utterances are in both"):
        train_in(tmp_path, run(), train, train)


def test_a_snapshot_restores_into_a_fresh_trainer(run, train):
    one = Trainer(run(), train, World())
    for _ in range(3):
        one.step()
    two = Trainer(run(), train, World())
    two.restore(one.snapshot("digest"))
    one.step()
    two.step()
    assert one.points == two.points
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, two.model.state_dict()[name])


def test_the_resume_folder_is_under_scratch(run, train, dev, tmp_path):
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    fit(run(), train, dev, out, scratch=scratch, world=OFTEN)
    assert checkpoint.newest_valid(out, "").folder is None
    assert {path.name for path in scratch.iterdir()} == {"resume", "journal-0001.jsonl"}


def test_the_optimizer_is_that_of_torch_bit_for_bit(run, train):
    """Decay spares the norms; nothing of torch.compile is imported for it."""
    ours, values = Trainer(run(), train, World()), run().optimizer
    theirs = Trainer(run(), train, World())
    groups = [
        {"params": [p for p in theirs.named.values() if p.ndim > 1]},
        {"params": [p for p in theirs.named.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(
        groups,
        betas=(values.beta1, values.beta2),
        eps=values.epsilon,
        weight_decay=values.weight_decay,
        fused=True,
    )
    for step in range(5):
        ours.step()
        theirs._accumulate(prepare(run(), train, World(), 4 * step))
        torch.nn.utils.clip_grad_norm_(theirs.named.values(), values.clip_norm)
        for group in reference.param_groups:
            group["lr"] = ours.points[-1].lr
        reference.step()
        reference.zero_grad()
    ours.feed.close()
    theirs.feed.close()
    assert all(torch.equal(w, theirs.named[name]) for name, w in ours.named.items())
    state = {f"{n}/{k}": v for n, p in theirs.named.items() for k, v in reference.state[p].items()}
    mine = ours.optimizer.state()
    assert state.keys() == mine.keys()
    assert all(torch.equal(value, state[key]) for key, value in mine.items())


def test_training_imports_nothing_of_the_compiler():
    code = (
        "import sys; from tests.training.conftest import InMemory, make_run\n"
        "from ray_slm.training.trainer import Trainer\n"
        "from ray_slm.training.world import World\n"
        "trainer = Trainer(make_run(), InMemory('train', 30), World()); trainer.step()\n"
        "trainer.feed.close(); print('torch._dynamo' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.fixture
def one_behind(monkeypatch):
    """As on a GPU: what a step found is read after the next one was begun."""
    monkeypatch.setattr("ray_slm.training.trainer.steps_behind", lambda _: 1)


@pytest.mark.parametrize("every", [1, 3, 100])
def test_reading_a_step_behind_changes_no_byte(
    every, undisturbed, one_behind, run, train, dev, tmp_path
):
    events, world = Recorder(die_at_step=8), World(resume_every_steps=every)
    with pytest.raises(Killed):
        train_in(tmp_path / "k", run(), train, dev, world, events)
    again = Recorder()
    train_in(tmp_path / "k", run(), train, dev, world, again)
    assert digests(tmp_path / "k") == undisturbed[1]
    steps = [point["step"] for point in (*events.points, *again.points)]
    assert steps[:8] == list(range(1, 9))
    assert steps[8:] == list(range(steps[8], steps[-1] + 1))


def test_a_step_that_diverged_never_reaches_the_weights_however_late_it_is_read(
    one_behind, run, train
):
    wild = run(optimizer=Optimizer(peak_lr=1e18, warmup_fraction=0.0, clip_norm=1e18))
    trainer = Trainer(wild, train, World())
    trainer.step()
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.step()
    assert trainer.points[-1].step == 1
    with pytest.raises(DivergedError, match="step 2: the loss is"):
        trainer.step()
    trainer.feed.close()
    assert all(torch.equal(w, before[n]) for n, w in trainer.model.state_dict().items())
    assert trainer.progress.step == 1
