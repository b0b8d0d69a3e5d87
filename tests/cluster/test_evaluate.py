"""`ray-slm evaluate` on a Ray cluster: a grid of trials that says what one process says."""

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from ray_slm import evaluating
from ray_slm.scheduling.places import Places
from ray_slm.scheduling.store import Store
from tests import smoke
from tests.cluster import nodes
from tests.tasks import published
from tests.test_evaluating import STUDY, elsewhere, write_checkpoints

__all__ = ["elsewhere"]  # a fixture: the folder of a model made elsewhere
pytestmark = pytest.mark.cluster


class Asked(NamedTuple):
    """The checkpoints of text-raw on StoryCloze, in a root for each backend."""

    folder: Path
    places: list[str]

    def records(self, backend: str) -> dict[Path, int]:
        """Evaluations that are done, and when each was."""
        found = (self.folder / backend).glob("evaluate/**/record.json")
        return {path: path.stat().st_mtime_ns for path in found}

    def command(self, backend: str, *models: str) -> list[str]:
        command = [sys.executable, "-m", "ray_slm", "evaluate", "text-raw", *models, "--json"]
        command += ["--study", str(self.folder / "tiny.py"), "--root", str(self.folder / backend)]
        return [*command, "--backend", backend, *self.places]

    def rows(self, backend: str, *models: str) -> list[dict]:
        """In a process of its own: Ray reads its session's settings when it is imported."""
        command = self.command(backend, *models)
        ran = subprocess.run(command, capture_output=True, text=True, cwd=smoke.REPOSITORY)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)


def asked_of(num_seeds: int, places, folder: Path) -> Asked:
    """Checkpoints of so many training runs, with weights drawn at random."""
    copy = {"storycloze": str(published.story_cloze(folder / "sc"))}
    known = {**{name: str(path) for name, path in places.items()}, **copy}
    task = evaluating.find_task(STUDY, "storycloze", Places(known, folder / "cache"))
    seeds = tuple(range(num_seeds))
    (folder / "tiny.py").write_text(
        "from dataclasses import replace\nfrom tests.test_evaluating import STUDY as WHOLE\n"
        f"task = replace(WHOLE.tasks[0], digest={task.digest!r})\n"
        f"STUDY = replace(WHOLE, tasks=(task,), seeds={seeds})\n"
    )
    for backend in ("local", "ray"):
        write_checkpoints(replace(STUDY, tasks=(task,), seeds=seeds), Store(folder / backend))
    return Asked(folder, [f"--place={name}={path}" for name, path in known.items()])


def test_trials_score_checkpoints_and_a_foreign_model_as_one_process_does(
    places, elsewhere, tmp_path
):
    asked = asked_of(1, places, tmp_path)
    found = asked.rows("ray", str(elsewhere))
    assert found == asked.rows("local", str(elsewhere))
    assert [row["model"].split("/")[0] for row in found] == [*["text-raw"] * 3, "their-model"]


def test_tune_dies_among_its_trials_and_the_next_run_scores_only_what_has_no_record(
    places, tmp_path
):
    """SIGKILL to the driver, in which Tune runs, after a seeded number of records."""
    asked = asked_of(6, places, tmp_path)
    moment = random.Random(5).randrange(1, 6)
    with subprocess.Popen(asked.command("ray"), cwd=smoke.REPOSITORY) as driver:
        nodes.wait_until(lambda: len(asked.records("ray")) >= moment, 900, driver)
        driver.send_signal(signal.SIGKILL)
    done = asked.records("ray")
    assert asked.rows("ray") == asked.rows("local")
    after = asked.records("ray")
    assert moment <= len(done) < len(after) == 18
    assert {path: after[path] for path in done} == done
