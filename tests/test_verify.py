"""What `verify` tells by its digest: whether two roots hold the same results."""

import pytest

from ray_slm.inquiry import verify
from ray_slm.recipes import Report
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import open_store
from ray_slm.studies.smoke import STUDY

(REPORT,) = [stage for stage in plan(STUDY) if isinstance(stage.recipe, Report)]
FILES = {"tables.json": "{}", "index.html": "made by abc", "timing.json": "1.5"}


def digest(root, **files):
    store = open_store(root)
    folder = store.path(REPORT.address)
    folder.mkdir(parents=True)
    for name, text in (FILES | files).items():
        (folder / name).write_text(text)
    store.commit(REPORT, summary={}, made={"commit": files.get("index.html", "abc")})
    found = verify(STUDY, store)
    assert found.problems == ()
    assert found.num_results == 1
    return found.digest


@pytest.mark.parametrize("name", ["index.html", "timing.json"])
def test_another_commit_and_another_clock_leave_the_digest(name, tmp_path):
    other = digest(tmp_path / "other", **{name: "something else"})
    assert other == digest(tmp_path / "one")


def test_another_result_does_not(tmp_path):
    other = digest(tmp_path / "other", **{"tables.json": "{1}"})
    assert other != digest(tmp_path / "one")


def test_a_changed_page_is_a_problem_all_the_same(tmp_path):
    digest(tmp_path)
    (tmp_path / REPORT.address / "index.html").write_text("tampered")
    (problem,) = verify(STUDY, open_store(tmp_path)).problems
    assert "index.html" in problem
