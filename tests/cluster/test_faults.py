"""Killed drivers and poisoned stages: nothing is lost, nothing is hidden."""

import os
import random
import signal
import subprocess
import time

import pytest

from tests import smoke

pytestmark = pytest.mark.cluster


def test_a_driver_killed_again_and_again_ends_with_the_same_digest(finished, tmp_path):
    """SIGKILL at seeded moments, on the real cluster, then one run to the end."""
    moments = random.Random(7)
    for _ in range(2):
        driver = subprocess.Popen(
            smoke.command("run", "smoke", tmp_path, "--quiet"),
            cwd=smoke.REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(8.0, 30.0))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    found = smoke.call("run", "smoke", tmp_path, "--quiet")
    assert found.returncode == 0, found.stderr
    assert smoke.digest("smoke", tmp_path) == smoke.digest("smoke", finished)


POISONED = """
from dataclasses import dataclass, replace
from ray_slm.modalities import text_raw
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="poisoned",
    contrasts=(),
    modalities=tuple(
        replace(m, stream=replace(m.stream, vocab_size=30_000)) if m.name == "text-bpe" else m
        for m in smoke.STUDY.modalities
        if m.name in ("text-bpe", "text-raw", "phone-raw")
    ),
)
"""


def test_one_failed_modality_leaves_the_others_running_and_the_exit_code_tells(tmp_path, places):
    study = tmp_path / "poisoned.py"
    study.write_text(POISONED)
    found = smoke.call("run", str(study), tmp_path / "root", "--backend", "local", "--quiet")
    assert found.returncode == 2, found.stderr
    assert "failed: vocabulary/text-bpe" in found.stderr
    assert "30000" in found.stderr.replace(",", "").replace("_", "")
    status = smoke.call("status", str(study), tmp_path / "root")
    assert "train/text-raw/seed-0" in status.stdout
    done = [line for line in status.stdout.splitlines() if "train/" in line and "done" in line]
    assert len(done) == 2
    partial = smoke.call("report", str(study), tmp_path / "root")
    assert partial.returncode == 0, partial.stderr
    assert (tmp_path / "root/studies/poisoned/report/index.html").exists()


def test_a_second_driver_is_refused_and_the_holder_named(tmp_path):
    from ray_slm.scheduling import lease

    with lease.held(lease.FolderEntries(tmp_path), str(tmp_path)):
        found = smoke.call("run", "smoke", tmp_path)
    assert found.returncode == 4
    assert f"another driver works in {tmp_path}: process {os.getpid()} on" in found.stderr
