"""The plan: a pure function of the study, whose addresses change only where meaning changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ray_slm.modalities import phone_raw
from ray_slm.scheduling.plan import plan
from ray_slm.studies import laptop, smoke
from ray_slm.study import load_study, study_names

GOLDEN = Path(__file__).parents[1] / "golden"


def addresses(study):
    return {stage.name: stage.address for stage in plan(study)}


def changed(before, after):
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


@pytest.mark.parametrize("name", study_names())
def test_the_golden_plan_shows_which_cells_a_change_re_addresses(name):
    found = {stage.name: stage.fingerprint for stage in plan(load_study(name))}
    expected = json.loads((GOLDEN / f"{name}.json").read_text())
    differing = sorted(changed(found, expected))
    assert not differing, (
        f"{len(differing)} stages of {name} have new addresses, e.g. {differing[:5]}; "
        "if that is meant: python tests/golden/refresh.py"
    )


def test_every_stage_comes_after_its_inputs():
    seen = set()
    for stage in plan(laptop.STUDY):
        assert {artifact.stage.address for artifact in stage.inputs.values()} <= seen
        seen.add(stage.address)


def test_a_seventh_modality_changes_no_address_but_its_own_and_the_reports(tmp_path, monkeypatch):
    """One new file in the package of modalities is all it takes."""
    import ray_slm.modalities
    from ray_slm.modalities.discovery import discover

    (tmp_path / "phone_doubled.py").write_text(
        '"""A seventh modality."""\n'
        "from dataclasses import replace\n"
        "from ray_slm.modalities import phone_bpe\n"
        "MODALITY = replace(phone_bpe.MODALITY, name='phone-doubled', "
        "stream=replace(phone_bpe.MODALITY.stream, vocab_size=1024))\n"
    )
    monkeypatch.setattr(
        ray_slm.modalities, "__path__", [*ray_slm.modalities.__path__, str(tmp_path)]
    )
    seventh = discover()["phone-doubled"]
    before = addresses(smoke.STUDY)
    after = addresses(replace(smoke.STUDY, modalities=(*smoke.STUDY.modalities, seventh)))
    touched = changed(before, after)
    assert "report/smoke" in touched
    assert touched - {"report/smoke"} == {n for n in after if "phone-doubled" in n}
    assert len(touched) > 5


def test_one_more_task_re_addresses_no_training():
    fewer = replace(smoke.STUDY, tasks=smoke.STUDY.tasks[:1])
    touched = changed(addresses(fewer), addresses(smoke.STUDY))
    assert not [name for name in touched if name.startswith(("train/", "corpus/"))]


def test_a_learning_rate_re_addresses_training_and_what_follows_but_no_tokens():
    other = replace(smoke.STUDY, optimizer=replace(smoke.STUDY.optimizer, peak_lr=1e-5))
    touched = {name.split("/")[0] for name in changed(addresses(smoke.STUDY), addresses(other))}
    assert touched == {"train", "evaluate", "report"}


def test_resources_are_no_identity():
    other = replace(smoke.STUDY, train_cpus=4.0, train_workers=2)
    assert not changed(addresses(smoke.STUDY), addresses(other))


def test_all_modalities_have_checkpoints_at_the_same_hours():
    stages = [stage for stage in plan(smoke.STUDY) if stage.name.startswith("train/")]
    for stage in stages:
        assert len(stage.recipe.checkpoints) == len(smoke.STUDY.checkpoint_hours)
        assert stage.recipe.checkpoints[0] == 0
    assert len(stages) == len(smoke.STUDY.modalities)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modalities": ()}, "there is no modality"),
        ({"modalities": (phone_raw.MODALITY, phone_raw.MODALITY)}, "'phone-raw' stands twice"),
        ({"checkpoint_hours": (3.0, 1.0)}, "checkpoint_hours must rise"),
        ({"precision": "fp8"}, "'fp8'"),
        ({"name": "No Spaces!"}, "does not match"),
        ({"modalities": (phone_raw.MODALITY,)}, "contrast A names 'text-bpe'"),
    ],
)
def test_an_impossible_study_is_refused_by_name(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(smoke.STUDY, **fields)


def test_all_errors_of_a_study_come_at_once():
    with pytest.raises(ValueError, match=r"no modality.*checkpoint_hours.*precision"):
        replace(smoke.STUDY, modalities=(), checkpoint_hours=(), precision="x")
