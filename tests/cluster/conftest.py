"""One finished smoke study on a real local Ray cluster, shared by the tests that look at it."""

import tempfile
from pathlib import Path

import pytest

from tests import smoke
from tests.cluster import nodes


@pytest.fixture(scope="session")
def logs_of_ray():
    """Where Ray keeps its logs: a short path, as it makes sockets there too."""
    with tempfile.TemporaryDirectory(prefix="rs") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def finished(places, logs_of_ray, tmp_path_factory):
    """The root, after a run with secrets in its environment."""
    root = tmp_path_factory.mktemp("smoke")
    found = smoke.call("run", "smoke", root, RAY_TMPDIR=str(logs_of_ray), **smoke.SECRETS)
    assert found.returncode == 0, found.stderr + found.stdout
    assert smoke.CANARY not in found.stdout + found.stderr
    return root


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """A study file of one modality, whose training takes seconds enough to be hurt in."""
    path = tmp_path_factory.mktemp("study") / "speech.py"
    path.write_text(nodes.SPEECH)
    return path


@pytest.fixture(scope="session")
def undisturbed(speech, places, tmp_path_factory):
    """The digest of that study when nothing goes wrong, and no Ray is there."""
    root = tmp_path_factory.mktemp("undisturbed")
    found = smoke.call("run", str(speech), root, "--backend", "local", "--quiet")
    assert found.returncode == 0, found.stderr
    return smoke.digest(str(speech), root)
