"""What all tests share: the third-party payloads, fetched once into the ignored ``.assets``."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from ray_slm.corpora.assets import fetch

NEED_RAY = ("cluster", "dashboards")

# The same examples everywhere, and no verdict by the clock: machines that test are shared.
settings.register_profile(
    "shared", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared")


class ByFolder(LoadScopeScheduling):
    """Tests of one folder run in one process, as they share fixtures; Ray's in one, too, where they
    take turns with the machine and wait a lot."""

    def _split_scope(self, nodeid: str) -> str:
        folder = Path(nodeid.split("::")[0]).parent.name
        return "cluster" if folder in NEED_RAY else folder


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFolder:
    """For `pytest -n 2`."""
    return ByFolder(config, log)


@pytest.fixture(scope="session")
def places() -> Mapping[str, Path]:
    """Where external things lie: every asset, the fall-back voice included, is present."""
    folder = Path(__file__).parent.parent / ".assets"
    missing = [o for o in fetch(folder, everything=True) if o.state == "missing"]
    assert not missing, [f"{o.asset.name}: {o.detail}" for o in missing]
    return {"assets": folder}
