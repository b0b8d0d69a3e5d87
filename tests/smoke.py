"""Running the smoke study in a process of its own, as a user's shell would."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def command(verb: str, study: str, root: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "ray_slm", verb, study, "--root", str(root), *options]


def call(verb: str, study: str, root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(verb, study, root, *options),
        capture_output=True,
        text=True,
        timeout=900,
        cwd=REPOSITORY,
    )


def digest(study: str, root: Path) -> str:
    found = call("verify", study, root)
    assert found.returncode == 0, found.stderr
    match = re.search(r"digest ([0-9a-f]{64})", found.stdout)
    assert match, found.stdout
    return match[1]
