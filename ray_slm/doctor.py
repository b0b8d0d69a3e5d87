"""`ray-slm doctor`: look at what a run needs before it is started, and say the remedy."""

import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from ray_slm.errors import StorageError
from ray_slm.scheduling.store import Store

# Of each the first version without a published hole that a study could meet.
FLOORS: dict[str, tuple[int, ...]] = {
    "ray": (2, 60),
    "torch": (2, 11),
    "mlflow": (3, 17, 2),
    "sentencepiece": (0, 2, 3),
}
DISK_BYTES = 5 * 10**9


class Finding(NamedTuple):
    """One thing looked at."""

    what: str
    ok: bool
    detail: str


def examine(store: Store, places: Mapping[str, Path]) -> list[Finding]:
    """Versions, storage, memory, the voice and every pinned asset."""
    return [
        *(_version(name, floor) for name, floor in FLOORS.items()),
        _storage(store),
        _memory(),
        _checked("voice", _voice),
        *_assets(places),
    ]


def _version(name: str, floor: tuple[int, ...]) -> Finding:
    wanted = ".".join(map(str, floor))
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, False, f"not installed: run `make setup` (needs {wanted} or newer)")
    parts = tuple(int(part) for part in re.findall(r"\d+", found.split("+")[0])[: len(floor)])
    return Finding(name, parts >= floor, f"{found} (needs {wanted} or newer)")


def _storage(store: Store) -> Finding:
    """The root must take a file, an exclusive creation and some gigabytes."""
    name = f"doctor-{uuid.uuid4().hex}"
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_text("x")
        (store.root / name).unlink()
        if store.bucket is not None:
            created = [store.bucket.create(name, content) for content in (b"1", b"2")]
            store.bucket.delete(name)
            if created != [True, False]:
                remedy = "use storage that honors If-None-Match"
                return Finding("storage", False, f"{store.location} overwrites: {remedy}")
    except (OSError, ValueError, StorageError) as error:
        return Finding("storage", False, f"{store.location}: {error}; choose another --root")
    free = shutil.disk_usage(store.root).free
    detail = f"{store.root}: {free / 1e9:.0f} GB free (a laptop study needs 5 GB)"
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
