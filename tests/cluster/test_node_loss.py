"""Nodes and workers that die at work: the results are those of an undisturbed run."""

import time

import pytest
from ray.exceptions import ActorDiedError
from ray.train import ControllerError

from ray_slm.cluster.retries import despite_losses
from ray_slm.launch import first_line
from tests import smoke
from tests.cluster import nodes

pytestmark = pytest.mark.cluster


def test_a_node_lost_in_every_phase_changes_nothing(speech, undisturbed, tmp_path):
    """All work is on one node each time; it is killed and another takes its place."""
    root, log = tmp_path / "root", tmp_path / "log"
    phases = (nodes.tokenizing, nodes.steps, nodes.evaluating)
    with nodes.cluster(4) as cluster:
        (worker,) = cluster.worker_nodes
        with nodes.driver(speech, root, cluster.address, log) as process:
            for phase in phases:
                nodes.wait_until(lambda phase=phase: phase(root), process=process)
                cluster.remove_node(worker, allow_graceful=False)
                worker = nodes.add(cluster, 4)
            assert process.wait(240) == 0, log.read_text()
    assert smoke.digest(str(speech), root) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "title"),
    [
        (nodes.tokenizing, "ray::MapWorker(MapBatches(ShardTokenizer))"),
        (nodes.steps, "ray::RayTrainWorker"),
        (nodes.steps, "ray::ControlRoom"),
        (nodes.evaluating, "ray::ImplicitFunc"),
    ],
    ids=["encoder", "trainer", "control room", "evaluation"],
)
def test_a_worker_lost_changes_nothing(phase, title, speech, undisturbed, tmp_path):
    root, log = tmp_path / "root", tmp_path / "log"
    with (
        nodes.cluster(4) as cluster,
        nodes.driver(speech, root, cluster.address, log) as process,
    ):
        nodes.wait_until(lambda: phase(root), process=process)
        nodes.wait_until(lambda: nodes.kill_worker(title), process=process)
        assert process.wait(240) == 0, log.read_text()
    assert smoke.digest(str(speech), root) == undisturbed


def test_a_node_lost_while_workers_start_is_tried_again(monkeypatch):
    """Ray Train itself gives such a run up."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    fates = iter([ControllerError(ActorDiedError()), ActorDiedError(), None])

    def start():
        if (error := next(fates)) is not None:
            raise error
        return "trained"

    assert despite_losses(start) == "trained"


def test_what_the_controller_itself_got_wrong_is_told_at_once():
    error = ControllerError(ValueError("a wrong scaling"))
    fates = iter([error])

    def start():
        raise next(fates)

    with pytest.raises(ControllerError) as found:
        despite_losses(start)
    assert first_line(found.value) == "ValueError: a wrong scaling"
