"""`ray-slm evaluate` on a Ray cluster: a grid of trials that says what one process says."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from ray_slm import evaluating
from ray_slm.scheduling.places import Places
from ray_slm.scheduling.store import Store
from tests import smoke
from tests.tasks import published
from tests.test_evaluating import STUDY, elsewhere, write_checkpoints

__all__ = ["elsewhere"]  # a fixture: the folder of a model made elsewhere
pytestmark = pytest.mark.cluster


def test_trials_score_checkpoints_and_a_foreign_model_as_one_process_does(
    places, elsewhere, tmp_path
):
    """In processes of their own: Ray reads its session's settings when it is imported."""
    copy = {"storycloze": str(published.story_cloze(tmp_path / "sc"))}
    known = Places({**{n: str(p) for n, p in places.items()}, **copy}, tmp_path / "cache")
    study = replace(STUDY, tasks=(evaluating.find_task(STUDY, "storycloze", known),))
    file = tmp_path / "tiny.py"
    file.write_text(
        "from dataclasses import replace\nfrom tests.test_evaluating import STUDY as WHOLE\n"
        f"task = replace(WHOLE.tasks[0], digest={study.tasks[0].digest!r})\n"
        "STUDY = replace(WHOLE, tasks=(task,))\n"
    )
    found = []
    for backend in ("local", "ray"):
        root = tmp_path / backend
        write_checkpoints(study, Store(root))
        command = [sys.executable, "-m", "ray_slm", "evaluate", "text-raw/seed-0", str(elsewhere)]
        command += ["--study", str(file), "--root", str(root), "--backend", backend, "--json"]
        command += [f"--place={name}={path}" for name, path in {**places, **copy}.items()]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=smoke.REPOSITORY)
        assert ran.returncode == 0, ran.stderr
        found.append(json.loads(ran.stdout))
    assert found[0] == found[1]
    assert [row["model"].split("/")[0] for row in found[1]] == [*["text-raw"] * 3, "their-model"]
