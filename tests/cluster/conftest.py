"""One finished smoke study on a real local Ray cluster, shared by the tests that look at it."""

import pytest

from tests import smoke
from tests.cluster import nodes


@pytest.fixture(scope="session")
def finished(places, tmp_path_factory):
    root = tmp_path_factory.mktemp("smoke")
    found = smoke.call("run", "smoke", root)
    assert found.returncode == 0, found.stderr + found.stdout
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
