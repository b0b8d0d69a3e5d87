"""A training run whose node is lost goes on at another, from what lies in the bucket."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from ray_slm import parquet, token_finish
from ray_slm.corpora.utterance import shard_path
from ray_slm.modalities.ragged import Ragged
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import Store
from ray_slm.stages.site import Site
from ray_slm.stages.train import train
from ray_slm.studies.smoke import STUDY
from ray_slm.token_shards import ShardWriter, quarantine_path
from ray_slm.training.loop import ALONE

(RUN,) = [stage for stage in plan(STUDY) if stage.name == "train/text-raw/seed-0"]
WORLD = ALONE._replace(resume_every_steps=2)


class NodeLossError(Exception):
    """Stands for the end of a machine."""


def tokenize(store):
    """Sixty sentences of random letters in the place of the run's tokens."""
    stage, rng = RUN.inputs["tokens"].stage, np.random.default_rng(0)
    folder = store.path(stage.address)
    rows = []
    for split, count in (("train", 60), ("dev", 5)):
        lengths = rng.integers(20, 60, count)
        ids = [f"{split}-{i:03d}" for i in range(count)]
        rows.append(pa.table({"id": ids, "num_samples": lengths * 1000, "split": [split] * count}))
        flat = rng.integers(0, 70, lengths.sum()).astype(np.uint16)
        writer = ShardWriter(folder, split, 0)
        writer.write(pa.array(ids), Ragged(flat, lengths), None)
        writer.publish()
    quarantine_path(folder, 0).parent.mkdir()
    quarantine_path(folder, 0).touch()
    corpus = store.root / "corpus-of-letters"
    parquet.write_table(shard_path(corpus, 0), pa.concat_tables(rows))
    store.commit(stage, summary=token_finish.finish(folder, corpus, 78), made={})


def end_at(step):
    """Ends the attempt after that many steps, as the loss of a node does."""
    seen = iter(range(1, step))

    def urgent():
        if next(seen, None) is None:
            raise NodeLossError
        return False

    return urgent


def losses(store):
    path = store.path(RUN.address) / "losses.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_another_node_goes_on_where_the_lost_one_saved_last(node, tmp_path):
    undisturbed = Store(tmp_path / "undisturbed")
    tokenize(undisturbed)
    train(RUN, Site(undisturbed, {}), WORLD)
    num_steps = len(losses(undisturbed))
    assert num_steps > 5

    tokenize(node("zero"))
    for name, step in (("one", 4), ("two", 4)):
        with pytest.raises(NodeLossError):
            train(RUN, Site(node(name), {}), WORLD, end_at(step))
        assert not node("other").has(RUN.address)
    last = node("three")
    train(RUN, Site(last, {}), WORLD)

    assert losses(last) == losses(undisturbed)
    timing = json.loads((last.path(RUN.address) / "timing.json").read_text())
    assert timing["attempts"] == 3
    (newest,) = {last.path(RUN[part].address) for part in published(RUN)[-1:]}
    weights = newest / "model.safetensors"
    same = undisturbed.path(RUN[published(RUN)[-1]].address) / "model.safetensors"
    assert weights.read_bytes() == same.read_bytes()
    lines = (last.path(RUN.address) / "timing.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(json.loads, lines) if "loss" in line]
    assert steps == list(range(1, num_steps + 1)), "each step once, whichever node took it"
    firsts = [line for line in map(json.loads, lines) if "loss" in line and line["attempt"] == 3]
    assert firsts[0]["step"] > 1
    assert not [e for e in last.bucket.entries("data/") if "/scratch/" in e.key]


def published(stage):
    from ray_slm.scheduling.plan import checkpoint_part

    return [checkpoint_part(count) for count in stage.recipe.checkpoints]
