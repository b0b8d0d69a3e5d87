"""Running the smoke study in a process of its own, as a user's shell would."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# Planted where a user keeps secrets; they must turn up nowhere.
CANARY = "planted-7f3a91-canary"
SECRETS = {
    name: f"{CANARY}-{name}"
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "RAY_AUTH_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "HF_TOKEN",
    )
}


def command(verb: str, study: str, root: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "ray_slm", verb, study, "--root", str(root), *options]


def call(
    verb: str, study: str, root: Path, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(verb, study, root, *options),
        capture_output=True,
        text=True,
        timeout=900,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


def digest(study: str, root: Path) -> str:
    found = call("verify", study, root)
    assert found.returncode == 0, found.stderr
    match = re.search(r"digest ([0-9a-f]{64})", found.stdout)
    assert match, found.stdout
    return match[1]


def holding_a_secret(folder: Path) -> list[str]:
    """Files below a folder that hold a planted secret."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 50
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]
