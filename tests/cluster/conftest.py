"""One finished smoke study on a real local Ray cluster, shared by the tests that look at it."""

import pytest

from tests import smoke


@pytest.fixture(scope="session")
def finished(places, tmp_path_factory):
    root = tmp_path_factory.mktemp("smoke")
    found = smoke.call("run", "smoke", root)
    assert found.returncode == 0, found.stderr + found.stdout
    return root
