"""A whole study in a bucket, driver killed and machine lost: the same digest as in a folder.

Secrets of the environment are planted on the way, and must turn up nowhere.
"""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from ray_slm.scheduling.objects import parse
from ray_slm.scheduling.store import open_store
from tests import bucket, smoke

STUDY = """
from dataclasses import replace
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="tiny",
    contrasts=(),
    tasks=smoke.STUDY.tasks[:1],
    modalities=tuple(m for m in smoke.STUDY.modalities if m.name == "text-raw"),
)
"""


@pytest.fixture
def node_of(s3_port, tmp_path):
    """Runs a verb as on a node of its own: another cache and home, secrets in its environment."""
    study = tmp_path / "tiny.py"
    study.write_text(STUDY)

    def start(name, verb, root, *options):
        cache = {"RAY_SLM_CACHE": str(tmp_path / name)}
        return subprocess.Popen(
            smoke.command(verb, str(study), root, *options),
            cwd=smoke.REPOSITORY,
            env={**os.environ, **bucket.environment(s3_port), **smoke.SECRETS, **cache},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def ended(process, code=0):
    printed, _ = process.communicate()
    assert process.returncode == code, printed
    return printed


def test_a_study_in_a_bucket(node_of, s3_url, tmp_path, places):
    whole = ended(node_of("none", "run", tmp_path / "root", "--backend", "local", "--quiet"))
    first = node_of("one", "run", s3_url, "--backend", "local", "--quiet")
    store = open_store(s3_url, tmp_path / "watching")
    while first.poll() is None and not store.versions("tokens/text-raw/laptop"):
        time.sleep(0.2)
    second = node_of("two", "run", s3_url, "--backend", "local", "--quiet")
    assert f"process {first.pid} on" in ended(second, code=4)
    first.kill()
    printed = [whole, first.communicate()[0]]
    printed.append(ended(node_of("three", "run", s3_url, "--backend", "local", "--quiet")))
    printed.append(ended(node_of("four", "run", s3_url)))
    assert "nothing to do" in printed[-1]

    in_folder = ended(node_of("none", "verify", tmp_path / "root"))
    in_bucket = ended(node_of("five", "verify", s3_url))
    assert re.findall("digest .*", in_bucket) == re.findall("digest .*", in_folder)
    tables = [ended(node_of("six", "tokens", root)) for root in (s3_url, tmp_path / "root")]
    assert tables[0] == tables[1]
    assert "text-raw" in ended(node_of("six", "status", s3_url))
    page = parse(s3_url).get("studies/tiny/report/index.html")
    assert page == (tmp_path / "root/studies/tiny/report/index.html").read_bytes()
    _look_for_secrets(parse(s3_url), tmp_path, [*printed, in_folder, in_bucket, *tables])


def _look_for_secrets(store: object, folder: Path, printed: list[str]) -> None:
    """Nothing that was written or printed holds a planted secret."""
    canary = smoke.CANARY.encode()
    entries = store.entries("")
    assert len(entries) > 50
    assert not [entry.key for entry in entries if canary in store.get(entry.key)]
    assert list(folder.rglob("mlflow.db"))
    assert not smoke.holding_a_secret(folder)
    assert smoke.CANARY not in "".join(printed)
