"""Where a stage runs: the store, the places of external data, and what made the result.

None of it is identity: the same study gives the same addresses on any site.
"""

import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from ray_slm.scheduling.store import Store

PACKAGES = (
    "ray-slm",
    "ray",
    "torch",
    "transformers",
    "numpy",
    "pyarrow",
    "sentencepiece",
    "scikit-learn",
    "openai-whisper",
)

COMMIT_FILE = "COMMIT"  # in the copy of the tree that a job runs in, which git does not know


class Site(NamedTuple):
    """This machine's view: the root that workers share, and where external data lies."""

    store: Store
    places: Mapping[str, Path]


@cache
def made_with() -> dict[str, object]:
    """Commit and versions, for records: who reads a result can tell what made it."""
    return {"commit": _commit(), "python": platform.python_version(), "versions": _versions()}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit() -> str:
    """The commit of the source tree, with a mark when files differ from it."""
    here = Path(__file__).parent
    sent = here.parents[1] / COMMIT_FILE
    if sent.is_file():
        return sent.read_text()
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except FileNotFoundError:
        return "unknown (git is not installed)"
    return found.stdout.strip() or "unknown (not a git checkout)"
