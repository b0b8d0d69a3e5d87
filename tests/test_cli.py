"""The command line as a stranger meets it: help, plans, one-line errors, exit codes."""

import json
import subprocess
import sys

import pytest


def ray_slm(*arguments, cwd=None):
    command = [sys.executable, "-m", "ray_slm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_help_names_every_verb():
    found = ray_slm("--help")
    assert found.returncode == 0
    for verb in ("plan", "run", "status", "tokens", "why", "report", "verify", "doctor", "ui"):
        assert verb in found.stdout


def test_a_plan_lists_stages_tokens_and_flops(tmp_path):
    found = ray_slm("plan", "smoke", "--root", tmp_path)
    assert found.returncode == 0, found.stderr
    assert "train/text-bpe/seed-0" in found.stdout
    assert "FLOPs" in found.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_plan_as_json_says_what_is_ready(tmp_path):
    rows = json.loads(ray_slm("plan", "smoke", "--root", tmp_path, "--json").stdout)
    states = {row["stage"]: row["state"] for row in rows}
    assert states["corpus/laptop"] == "ready"
    assert states["report/smoke"] == "waiting"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("STUDY = Sudty(name='x')\n", "study.py:1: NameError"),
        ("from ray_slm.study import Study\n\nSTUDY = Study(nmae='x')\n", "study.py:3: TypeError"),
        ("STUDY = (\n", "study.py:1: SyntaxError"),
        ("study = 1\n", "no constant STUDY"),
    ],
)
def test_a_typo_in_a_study_file_is_one_line_with_its_place(tmp_path, content, message):
    path = tmp_path / "study.py"
    path.write_text(content)
    found = ray_slm("plan", path, "--root", tmp_path / "root")
    assert found.returncode == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_an_unknown_study_lists_the_known_ones(tmp_path):
    found = ray_slm("run", "lptop", "--root", tmp_path)
    assert found.returncode == 2
    assert "laptop" in found.stderr


def test_an_unknown_place_or_backend_is_refused(tmp_path):
    assert ray_slm("run", "smoke", "--root", tmp_path, "--place", "x=/nowhere").returncode == 2
    assert ray_slm("run", "smoke", "--root", tmp_path, "--backend", "dask").returncode == 2


def test_why_says_that_a_stage_never_ran_and_refuses_unknown_ones(tmp_path):
    found = ray_slm("why", "corpus/laptop", "--study", "smoke", "--root", tmp_path)
    assert "never ran" in found.stdout
    assert ray_slm("why", "corpus/moon", "--study", "smoke", "--root", tmp_path).returncode == 2
