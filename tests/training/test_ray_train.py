"""Ray Train's snapshots never decide what a run resumes from: ours does, attempt by attempt."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ray_slm import parquet, token_finish
from ray_slm.corpora.utterance import shard_path
from ray_slm.modalities.ragged import Ragged
from ray_slm.recipes import Train
from ray_slm.scheduling.stage import Demand, Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import train as verbs
from ray_slm.stages.site import Site
from ray_slm.token_shards import ShardWriter, quarantine_path, write_whole
from ray_slm.training import checkpoint
from ray_slm.training.scale import Batching, Ending, Optimizer
from ray_slm.training.world import World
from tests.training.conftest import TINY, VOCAB_SIZE, InMemory

TOKENS = Stage(name="tokens/toy/toy", recipe=Batching())
RUN = Train(
    scale=TINY,
    optimizer=Optimizer(peak_lr=3e-3),
    batching=Batching(utterances_per_step=4),
    total_tokens=1200,
    checkpoints=(0, 600, 1200),
    seed=5,
    precision="fp32",
    ending=Ending(),
)
STAGE = Stage(name="train/toy/seed-5", recipe=RUN, inputs={"tokens": TOKENS[""]})
BY_TWO = replace(STAGE, demand=Demand(workers=2, cpus=0.5))


class Killed(Exception):
    """Stands for a SIGKILL."""


def with_tokens(root):
    """A root that holds the tokens of 30 + 9 utterances."""
    store = Store(root)
    folder = store.path(TOKENS.address)
    folder.mkdir(parents=True)
    rows = []
    for split, number in (("train", 30), ("dev", 9)):
        documents = InMemory(split, number)
        units = Ragged(np.concatenate(documents.units), np.asarray(documents.lengths))
        columns = {"id": documents.ids, "num_samples": pa.array(documents.num_samples)}
        rows.append(pa.table({**columns, "split": [split] * number}))
        writer = ShardWriter(folder, split, 0)
        writer.write(pa.array(documents.ids), units, None)
        writer.publish()
    write_whole(quarantine_path(folder, 0), b"")
    parquet.write_table(shard_path(root / "corpus", 0), pa.concat_tables(rows))
    token_finish.finish(folder, root / "corpus", VOCAB_SIZE)
    store.commit(TOKENS, summary={}, made={})
    return store


def die_after(step):
    """Called after each step: ends the run as a kill would."""
    seen = []

    def urgent():
        seen.append(1)
        if len(seen) == step:
            raise Killed
        return False

    return urgent


def losses(store):
    path = store.path(STAGE.address) / "losses.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


ON_RAY = """
import sys
from pathlib import Path
from ray_slm.cluster.session import ray_backend
from ray_slm.scheduling.store import Store
from ray_slm.stages.site import Site
from tests.training.test_ray_train import BY_TWO

site = Site(Store(Path(sys.argv[1])), {})
with ray_backend(site, [BY_TWO]):
    from ray_slm.cluster import train  # Ray reads the session's setup when it is imported
    from ray_slm.cluster.trainer import Controllers

    train.train(BY_TWO, site, Controllers())
"""


@pytest.fixture
def expected(tmp_path):
    """The losses of a run that nothing disturbs."""
    store = with_tokens(tmp_path / "undisturbed")
    verbs.train(STAGE, Site(store, {}))
    return losses(store)


@pytest.mark.cluster
def test_rays_snapshots_absent_or_cut_short_change_nothing(expected, tmp_path):
    """A run dies, Ray's own state is damaged in every way there is, and the run goes on.

    What one worker began two finish: the same address, the same steps.
    """
    assert BY_TWO.address == STAGE.address
    store = with_tokens(tmp_path / "root")
    with pytest.raises(Killed):
        verbs.train(STAGE, Site(store, {}), World(resume_every_steps=2), die_after(7))
    for name in (STAGE.fingerprint, f"{STAGE.fingerprint}-00000000"):
        foreign = tmp_path / "root" / name
        for folder in (foreign, store.root / STAGE.address / "scratch" / "ray" / name):
            folder.mkdir(parents=True)
            (folder / "checkpoint_manager_snapshot.json").write_text('{"checkpoints": [')
            (folder / "checkpoint_000001").mkdir()
    command = [sys.executable, "-c", ON_RAY, str(store.root)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr
    found, wanted = ([step["loss"] for step in steps] for steps in (losses(store), expected))
    assert found == pytest.approx(wanted, abs=1e-5)
    record = store.record(STAGE.address)
    assert record["summary"]["attempts"] == 2
    timing = (store.path(STAGE.address) / "timing.jsonl").read_text().splitlines()
    steps = [line for line in map(json.loads, timing) if "loss" in line]
    assert next(line["step"] for line in steps if line["attempt"] == 2) == 7  # it resumed from 6


def test_attempts_never_write_into_each_others_checkpoints(tmp_path):
    """What is half written by one attempt and whole by the next stays apart (ray#41700)."""
    store = with_tokens(tmp_path / "root")
    world = World(resume_every_steps=3)
    scratch = store.scratch(STAGE.address)
    for _ in range(2):  # both die after step 4, past their checkpoint at step 3
        with pytest.raises(Killed):
            verbs.train(STAGE, Site(store, {}), world, die_after(4))
        for folder in (scratch / "resume").iterdir():  # so that the next one begins anew
            (folder / "manifest.json").unlink(missing_ok=True)
    names = sorted(path.name for path in (scratch / "resume").iterdir())
    assert [name for name in names if name.startswith("step-000000003")] == [
        "step-000000003-0001",
        "step-000000003-0002",
    ]
    summary = verbs.train(STAGE, Site(store, {}), world)
    assert summary.attempts == 3
    assert all("manifest.json is missing" in reason for reason in summary.rejected)


def test_a_checkpoint_of_an_attempt_that_was_cut_off_gives_way_to_an_older_one(tmp_path):
    """Newest valid wins: not the newest name, and not the newest attempt."""
    store = with_tokens(tmp_path / "root")
    with pytest.raises(Killed):
        verbs.train(STAGE, Site(store, {}), World(resume_every_steps=2), die_after(7))
    root = store.scratch(STAGE.address) / "resume"
    older, newer = sorted(root.glob("step-*"))[-2:]
    (newer / "model.safetensors").write_bytes(b"")
    digest = json.loads((older / "state.json").read_text())["run"]
    found = checkpoint.newest_valid(root, digest)
    assert found.folder == older
    assert [bad.folder for bad in found.rejected] == [newer]
