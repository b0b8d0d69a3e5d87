"""The MLflow mirror survives what interrupts it: it is a copy, and a copy never stops a run."""

import os
import signal
import subprocess
import sys
import time

from tests import smoke

# In processes of their own: MLflow's imports warn, and pytest takes warnings for errors.
MIRROR = """
import sys
from pathlib import Path
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import Store
from ray_slm.studies.smoke import STUDY
from ray_slm.tracking import Mirror

with Mirror(STUDY, plan(STUDY), Store(Path(sys.argv[1]))):
    pass
"""


def mirror(root):
    command = [sys.executable, "-c", MIRROR, str(root)]
    return subprocess.Popen(
        command, cwd=smoke.REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_kill_while_mlflow_makes_its_tables_leaves_nothing_that_stops_the_next_run(tmp_path):
    interrupted = mirror(tmp_path)
    while not list(tmp_path.glob("mlflow.db*")):
        assert interrupted.poll() is None, interrupted.communicate()
        time.sleep(0.01)
    os.killpg(interrupted.pid, signal.SIGKILL)
    interrupted.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    again = mirror(tmp_path)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "behind" not in errors
    assert (tmp_path / "mlflow.db").exists()


def test_a_damaged_store_is_a_warning_and_not_the_end_of_the_run(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    found = mirror(tmp_path)
    _, errors = found.communicate()
    assert found.returncode == 0, errors
    assert "the mirror is behind" in errors
