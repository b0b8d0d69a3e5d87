"""Contrasts are fixed before anything is evaluated: their hash is in the plan."""

from dataclasses import replace

from ray_slm.recipes import Report
from ray_slm.scheduling.plan import plan
from ray_slm.studies.smoke import STUDY


def test_another_contrast_is_another_report_and_no_other_stage():
    before = {stage.name: stage for stage in plan(STUDY)}
    after = {stage.name: stage for stage in plan(replace(STUDY, contrasts=STUDY.contrasts[1:]))}
    changed = [name for name in before if before[name].address != after[name].address]
    assert changed == ["report/smoke"]
    recipe = before["report/smoke"].recipe
    assert isinstance(recipe, Report)
    assert recipe.contrasts == STUDY.contrasts


def test_the_family_stands_in_what_is_hashed():
    hashed = plan(STUDY)[-1].identity["recipe"]["contrasts"]
    names = [(each["factor"], each["baseline"], each["modality"]) for each in hashed]
    assert names == [(c.factor, c.baseline, c.modality) for c in STUDY.contrasts]
