"""A run whose workers come and go with the nodes: each step is that of a single worker."""

import json

import pytest

from ray_slm.training.journal import read_attempts
from tests import smoke
from tests.cluster import nodes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

# A worker takes most of a node, so that there are as many as nodes.
ELASTIC = """
from dataclasses import replace
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="elastic",
    contrasts=(),
    corpus=LaptopCorpus(train_hours=0.1, dev_minutes=0.5, num_shards=4),
    tasks=smoke.STUDY.tasks[:1],
    modalities=tuple(m for m in smoke.STUDY.modalities if m.name == "text-raw"),
    checkpoint_hours=(0.0, 30.0),
    precision="fp32",
    train_workers=2,
    train_least_workers=1,
    train_cpus=3.0,
)
"""
EQUAL_STEPS = 60


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "elastic.py"
    path.write_text(ELASTIC)
    return path


@pytest.fixture(scope="module")
def expected(study, places, tmp_path_factory):
    """The steps of one undisturbed worker."""
    root = tmp_path_factory.mktemp("undisturbed")
    found = smoke.call("run", str(study), root, "--backend", "local", "--quiet")
    assert found.returncode == 0, found.stderr
    return read(root, "losses.jsonl")


def read(root, name):
    (path,) = root.glob(f"train/text-raw/seed-0/*/{name}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def workers(root):
    """How many workers each attempt had that took a step."""
    found = []
    for scratch in root.glob("train/text-raw/seed-0/*/scratch"):
        for lines in read_attempts(scratch):
            if any("loss" in line for line in lines):
                found += [line["workers"] for line in lines if line.get("event") == "start"]
    return found


def test_a_run_loses_a_worker_with_its_node_and_gets_another(study, expected, tmp_path):
    """Ray Train looks every minute whether there is room for more.

    Sums of two workers round differently, which training itself amplifies: sooner or later losses
    of this run, which learns its few utterances by heart, are more than 1e-5 apart.
    """
    root, log = tmp_path / "root", tmp_path / "log"
    with nodes.cluster(4, 4) as cluster:
        lost = list(cluster.worker_nodes)[-1]
        with nodes.driver(study, root, cluster.address, log) as process:
            nodes.wait_until(lambda: workers(root) == [2], process=process)
            cluster.remove_node(lost, allow_graceful=False)
            nodes.wait_until(lambda: workers(root)[-1] == 1, process=process)
            nodes.add(cluster, 4)
            nodes.wait_until(lambda: workers(root)[-1] == 2, process=process)
            assert process.wait(400) == 0, log.read_text()
    found = read(root, "losses.jsonl")
    assert [step["tokens"] for step in found] == [step["tokens"] for step in expected]
    steps = [line for line in read(root, "timing.jsonl") if "loss" in line]
    end = next(step["step"] for step in steps if step["attempt"] == 3) + 40
    losses, wanted = ([step["loss"] for step in steps] for steps in (found, expected))
    assert losses[:EQUAL_STEPS] == pytest.approx(wanted[:EQUAL_STEPS], abs=1e-5)
    assert losses[:end] == pytest.approx(wanted[:end], rel=1e-3)
