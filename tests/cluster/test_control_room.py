"""The process that controls all runs of a driver, as Ray Train sees it."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.train import RunConfig, ScalingConfig

from ray_slm.cluster.spot import Notice, _drain
from tests.cluster import nodes

pytestmark = pytest.mark.cluster


def until_told(config):
    """Train until this node is to leave; a run that was told before has nothing left to do.

    `ray.train.get_preemption_info` would have workers meet at the actor that runs share.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    heard = get_train_context().preemption_context
    told = Path(config["folder"]) / "told"
    (Path(config["folder"]) / "node").write_text(ray.get_runtime_context().get_node_id())
    deadline = time.monotonic() + 60
    while not told.exists() and time.monotonic() < deadline:
        if heard.preemption_info is not None:
            told.write_text(" ".join(heard.preemption_info.preempted_node_ids))
        time.sleep(0.1)


@pytest.mark.filterwarnings("ignore:.* is deprecated")  # Ray reads its own old settings
def test_runs_share_one_process_that_tells_them_of_nodes_that_leave(tmp_path, monkeypatch):
    from ray_slm.cluster.trainer import Controllers, LeanTorchTrainer

    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
    controllers, folders = Controllers(), [tmp_path / "first", tmp_path / "second"]

    def run(folder):
        folder.mkdir()
        trainer = LeanTorchTrainer(
            until_told,
            train_loop_config={"folder": str(folder)},
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(name=folder.name, storage_path=str(tmp_path)),
            controllers=controllers,
        )
        trainer.fit()

    with (
        nodes.cluster(1, 1) as cluster,
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False),
        ThreadPoolExecutor(2) as pool,
    ):
        runs = [pool.submit(run, folder) for folder in folders]
        nodes.wait_until(lambda: all((folder / "node").exists() for folder in folders), 90)
        table = state._connect_and_get_accessor().get_actor_table(None, "ALIVE")
        actors = Counter(gcs_pb2.ActorTableData.FromString(row).class_name for row in table)
        actors.pop("_AutoscalingCoordinatorActor", None)  # one for a cluster
        assert actors == {"RayTrainWorker": 2, "ControlRoom": 1, "SynchronizationActor": 1}
        homes = [(folder / "node").read_text() for folder in folders]
        assert len(set(homes)) == 2
        for home, folder in zip(homes, folders, strict=True):
            nodes.add(cluster, 1)
            assert _drain(cluster.address, home, Notice("terminate", time.time() + 60))
            nodes.wait_until(lambda folder=folder: (folder / "told").exists(), 60)
            assert (folder / "told").read_text() == home
        assert [run.result() for run in runs] == [None, None]
