"""Wall time of several runs beside the ideal one."""

import json

import pytest

from ray_slm.recipes import Train
from ray_slm.scheduling.stage import Demand, Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages.efficiency import efficiency, line
from ray_slm.training.scale import LAPTOP, Batching, Ending, Optimizer


def trained(store, seed, steps, gpus=0.0, world_size=1):
    """A run with (end, seconds) steps, half of whose time was CPU time."""
    recipe = Train(
        scale=LAPTOP,
        optimizer=Optimizer(),
        batching=Batching(),
        total_tokens=10,
        checkpoints=(),
        seed=seed,
        precision="fp32",
        ending=Ending(),
    )
    stage = Stage(name=f"train/x/seed-{seed}", recipe=recipe, demand=Demand(gpus=gpus))
    folder = store.path(stage.address)
    folder.mkdir(parents=True)
    rows = [{"loss": 1.0, "time": end, "seconds": seconds} for end, seconds in steps]
    rows.append({"nats_per_token": 1.0, "time": 99.0})
    total = sum(seconds for _, seconds in steps)
    timing = {"train_seconds": total, "train_cpu_seconds": total / 2, "world_size": world_size}
    (folder / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "timing.json").write_text(json.dumps(timing) + "\n")
    store.commit(stage, summary={}, made={})
    return stage


def test_the_ideal_is_work_over_capacity(tmp_path):
    store = Store(tmp_path)
    stages = [trained(store, seed, [(10.0 + seed, 4.0), (14.0 + seed, 4.0)]) for seed in range(4)]
    found = efficiency(stages, store, 2)
    assert found.ideal_seconds == pytest.approx(4 * 4.0 / 2)
    assert found.actual_seconds == pytest.approx(17.0 - 6.0)
    assert found.share == pytest.approx(8 / 11)
    assert "4 training runs took 11.0 s, ideally 8.0 s on 2 processors" in line(found)


def test_one_long_run_cannot_use_more_than_its_workers(tmp_path):
    store = Store(tmp_path)
    stages = [trained(store, 0, [(20.0, 20.0)]), trained(store, 1, [(4.0, 4.0)])]
    assert efficiency(stages, store, 8).ideal_seconds == pytest.approx(10.0)


def test_gpus_work_as_long_as_their_steps_last(tmp_path):
    store = Store(tmp_path)
    stages = [trained(store, seed, [(8.0, 8.0)], gpus=1.0, world_size=2) for seed in range(2)]
    found = efficiency(stages, store, 4)
    assert (found.ideal_seconds, found.share) == (8.0, 1.0)


def test_fewer_than_two_runs_need_no_schedule(tmp_path):
    store = Store(tmp_path)
    assert efficiency([], store, 2) is None
    assert efficiency([trained(store, 0, [(4.0, 4.0)])], store, 2) is None
