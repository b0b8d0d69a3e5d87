"""Trunks and branches in a plan, and run stage by stage as the runner would."""

import json
from dataclasses import replace

import pytest

from ray_slm.recipes import Evaluate, Train
from ray_slm.scheduling import runner
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.local import LocalBackend
from ray_slm.stages.site import Site
from ray_slm.studies import smoke
from ray_slm.training.scale import Optimizer
from tests.training.test_ray_train import RUN, STAGE, TOKENS, with_tokens

BRANCHED = replace(
    smoke.STUDY,
    optimizer=replace(smoke.STUDY.optimizer, schedule="wsd-branches"),
    checkpoint_hours=(0.0, 0.02, 0.05),
)


def trainings(modality="text-raw"):
    stages = [stage for stage in plan(BRANCHED) if isinstance(stage.recipe, Train)]
    return [stage for stage in stages if stage.name.split("/")[1] == modality]


def test_each_budget_has_a_branch_of_its_own():
    trunk, *branches = trainings()
    assert trunk.name == "train/text-raw/seed-0"
    ends = [branch.recipe.total_tokens for branch in branches]
    assert [branch.name for branch in branches] == [
        f"cooldown/text-raw/seed-0/{end:012d}" for end in ends
    ]
    assert trunk.recipe.checkpoints == (0,)
    assert trunk.recipe.forks == tuple(branch.recipe.forked_at for branch in branches)
    for branch, end in zip(branches, ends, strict=True):
        assert branch.recipe.forked_at == round(0.8 * end)
        assert branch.inputs["trunk"].address == f"{trunk.address}/fork-{round(0.8 * end):012d}"
        assert branch.tokens == end - branch.recipe.forked_at


def test_every_checkpoint_is_evaluated_where_it_lies():
    makers = {
        stage.name.split("/")[3]: stage.inputs["checkpoint"].stage.name.split("/")[0]
        for stage in plan(BRANCHED)
        if isinstance(stage.recipe, Evaluate) and stage.name.startswith("evaluate/text-raw/")
    }
    assert makers.pop("0" * 12) == "train"
    assert set(makers.values()) == {"cooldown"}
    assert len(makers) == 2


def test_the_report_reads_the_branches():
    (report,) = [stage for stage in plan(BRANCHED) if stage.name.startswith("report/")]
    assert sum(name.startswith("cooldown/") for name in report.inputs) == 2 * 6


def test_exact_epochs_and_branches_exclude_each_other():
    with pytest.raises(ValueError, match="branches end at token counts"):
        replace(BRANCHED, ending=replace(BRANCHED.ending, epochs=1))


def test_the_runner_makes_trunk_and_branches_each_with_its_record(tmp_path):
    store = with_tokens(tmp_path)
    flat = replace(RUN, optimizer=Optimizer(peak_lr=3e-3, schedule="wsd-branches"))
    trunk = replace(
        STAGE,
        recipe=replace(flat, total_tokens=960, checkpoints=(0,), forks=(480, 960)),
    )
    branches = [
        Stage(
            name=f"cooldown/toy/seed-5/{end:012d}",
            recipe=replace(flat, total_tokens=end, checkpoints=(end,), forked_at=fork),
            inputs={"tokens": TOKENS[""], "trunk": trunk[f"fork-{fork:012d}"]},
        )
        for fork, end in ((480, 600), (960, 1200))
    ]
    outcome = runner.run([trunk, *branches], store, LocalBackend(Site(store, {})))
    assert outcome.failed == {}
    assert [stage.name for stage in outcome.made] == [s.name for s in (trunk, *branches)]
    for branch in branches:
        end = branch.recipe.total_tokens
        assert store.verify(branch.address) == []
        about = store.path(branch.address) / f"checkpoint-{end:012d}" / "trainer.json"
        assert json.loads(about.read_text())["tokens"] >= end
        lines = (store.path(branch.address) / "losses.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["lr"] < 1e-3 < json.loads(lines[0])["lr"]
