"""`ray-slm doctor`: look at what a run needs before it is started, and say the remedy."""

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

FLOORS = {"ray": (2, 60), "torch": (2, 11), "mlflow": (3, 17), "sentencepiece": (0, 2)}
DISK_BYTES = 5 * 10**9


class Finding(NamedTuple):
    """One thing looked at."""

    what: str
    ok: bool
    detail: str


def examine(root: Path, places: Mapping[str, Path]) -> list[Finding]:
    """Versions, storage, memory, the voice and every pinned asset."""
    return [
        *(_version(name, floor) for name, floor in FLOORS.items()),
        _storage(root),
        _memory(),
        _checked("voice", _voice),
        *_assets(places),
    ]


def _version(name: str, floor: tuple[int, int]) -> Finding:
    wanted = ".".join(map(str, floor))
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, False, f"not installed: run `make setup` (needs {wanted} or newer)")
    parts = tuple(int(part) for part in found.split("+")[0].split(".")[:2])
    return Finding(name, parts >= floor, f"{found} (needs {wanted} or newer)")


def _storage(root: Path) -> Finding:
    """The root must take a file, a rename and some gigabytes."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        draft, final = root / ".doctor.tmp", root / ".doctor"
        draft.write_text("x")
        draft.replace(final)
        final.unlink()
    except OSError as error:
        return Finding("storage", False, f"{root}: {error}; choose another --root")
    free = shutil.disk_usage(root).free
    detail = f"{root}: {free / 1e9:.0f} GB free (a laptop study needs 5 GB)"
    return Finding("storage", free > DISK_BYTES, detail)


def _memory() -> Finding:
    import psutil

    total = psutil.virtual_memory().total
    detail = (
        f"{total / 2**30:.0f} GiB, {psutil.cpu_count()} processors (a laptop study needs 10 GiB)"
    )
    return Finding("memory", total >= 10 * 2**30, detail)


def _voice() -> str:
    from ray_slm.corpora.flite import Flite

    spoken = Flite(("kal16",)).speak("hello", "kal16")
    return f"flite speaks ({len(spoken.pcm)} samples)"


def _assets(places: Mapping[str, Path]) -> list[Finding]:
    from ray_slm.corpora.assets import ASSETS

    return [
        _checked(f"asset {asset.name}", partial(_where, places, asset.name)) for asset in ASSETS
    ]


def _where(places: Mapping[str, Path], name: str) -> str:
    from ray_slm.corpora.assets import locate

    return str(locate(places, name))


def _checked(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except (ValueError, OSError) as error:
        return Finding(what, False, str(error))
