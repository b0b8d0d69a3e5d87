"""What all tests share: the third-party payloads, fetched once into the ignored ``.assets``."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ray_slm.corpora.assets import fetch

# The same examples everywhere, and no verdict by the clock: machines that test are shared.
settings.register_profile(
    "shared", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group what shares fixtures, for `pytest -n 2 --dist loadgroup`: Ray's tests first, in one
    process, because they take turns with the machine and wait a lot; a folder's in one, too."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.parent.relative_to(here)
        ours = folder.parts[0] if folder.parts else item.path.stem
        name = "cluster" if item.get_closest_marker("cluster") else ours
        item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)


@pytest.fixture(scope="session")
def places() -> Mapping[str, Path]:
    """Where external things lie: every asset, the fall-back voice included, is present."""
    folder = Path(__file__).parent.parent / ".assets"
    missing = [o for o in fetch(folder, everything=True) if o.state == "missing"]
    assert not missing, [f"{o.asset.name}: {o.detail}" for o in missing]
    return {"assets": folder}
