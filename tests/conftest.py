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


@pytest.fixture(scope="session")
def places() -> Mapping[str, Path]:
    """Where external things lie: every asset, the fall-back voice included, is present."""
    folder = Path(__file__).parent.parent / ".assets"
    missing = [o for o in fetch(folder, everything=True) if o.state == "missing"]
    assert not missing, [f"{o.asset.name}: {o.detail}" for o in missing]
    return {"assets": folder}
