"""Placement groups of the dead are freed, those of the living are not."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table

from ray_slm.cluster.reaper import free_orphans
from tests.cluster import nodes

pytestmark = pytest.mark.cluster


@pytest.fixture
def two_processors():
    with nodes.cluster(2) as cluster:
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        yield
        ray.shutdown()


@ray.remote(num_cpus=0)
class Holder:
    """Makes a group of one processor, as the controller of a training run does."""

    def hold(self) -> str:
        group = placement_group([{"CPU": 1}])
        ray.get(group.ready())
        return group.id.hex()


def test_a_dead_creators_group_is_freed_and_a_living_ones_kept(two_processors):
    dead, living = Holder.remote(), Holder.remote()
    orphan, kept = ray.get(dead.hold.remote()), ray.get(living.hold.remote())
    own = placement_group([{"CPU": 0.001}])
    assert free_orphans() == []
    ray.kill(dead)
    freed: list[str] = []
    nodes.wait_until(lambda: freed.extend(free_orphans()) or freed, seconds=20)
    assert freed == [orphan]
    nodes.wait_until(lambda: ray.available_resources().get("CPU", 0) > 0.9, seconds=20)
    states = {key: found["state"] for key, found in placement_group_table().items()}
    assert states[orphan] == "REMOVED"
    assert states[kept] == "CREATED"
    assert states[own.id.hex()] != "REMOVED"
    assert free_orphans() == []


@pytest.mark.filterwarnings("ignore:.* is deprecated")  # Ray reads its own old settings
def test_a_run_that_fails_while_its_workers_start_gives_back_what_it_held(two_processors, tmp_path):
    """NCCL on machines without GPUs; the process that controls runs lives on."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig

    from ray_slm.cluster.trainer import Controllers, LeanTorchTrainer

    trainer = LeanTorchTrainer(
        lambda: None,
        torch_config=TorchConfig(backend="nccl"),
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name="fails", storage_path=str(tmp_path)),
        controllers=Controllers(),
    )
    with ThreadPoolExecutor(1) as pool:  # as a run's thread does, the future keeps the error
        run = pool.submit(trainer.fit)
    assert "nccl" in str(run.exception()).lower()
    nodes.wait_until(lambda: ray.available_resources().get("CPU") == 2.0, seconds=20)
    assert free_orphans() == []
