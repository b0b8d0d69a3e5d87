"""Where external data lies on this node: a folder, or a prefix of a bucket that is copied here.

Readers of corpora and weights see folders only.  A place in a bucket is brought here as a whole
when a process first asks for it, so it suits manifests, alignments, weights and corpora that fit
on a node's disk; what the data are is checked by the digest in the study, not here.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from ray_slm.errors import StorageError
from ray_slm.scheduling.exchange import STREAMS
from ray_slm.scheduling.folders import inside, write_atomically
from ray_slm.scheduling.objects import SCHEME, parse


class Places(Mapping[str, Path]):
    """Folders by name.  ``locations`` are paths or URLs, ``cache`` holds this node's copies."""

    def __init__(self, locations: Mapping[str, str], cache: Path) -> None:
        self._locations, self._cache = dict(locations), cache
        self._here: dict[str, Path] = {}

    def with_folder(self, name: str, folder: Path) -> "Places":
        """These places and one more."""
        return Places({**self._locations, name: str(folder)}, self._cache)

    def __getitem__(self, name: str) -> Path:
        location = self._locations[name]
        if not location.startswith(SCHEME):
            return Path(location)
        if name not in self._here:
            self._here[name] = mirrored(location, self._cache)
        return self._here[name]

    def __contains__(self, name: object) -> bool:
        return name in self._locations  # without copying anything

    def __iter__(self) -> Iterator[str]:
        return iter(self._locations)

    def __len__(self) -> int:
        return len(self._locations)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Another node copies for itself."""
        return (Places, (self._locations, self._cache))


def mirrored(url: str, cache: Path) -> Path:
    """A folder with the objects below ``url``, brought up to date; one process at a time does it.

    Raises ValueError when there is nothing, or when a key leads out of the folder.
    """
    bucket = parse(url)
    folder = cache / "places" / bucket.name / bucket.prefix
    folder.mkdir(parents=True, exist_ok=True)
    beside = cache / "places" / hashlib.sha256(url.encode()).hexdigest()[:16]
    state = beside.with_suffix(".json")  # key -> ETag of what was brought here
    with FileLock(beside.with_suffix(".lock")):
        wanted = {e.key: e.etag for e in bucket.entries("") if not e.key.endswith("/")}
        if not wanted:
            raise ValueError(f"{url} holds no objects: check the place's URL")
        seen = json.loads(state.read_text()) if state.is_file() else {}
        for key in seen.keys() - wanted.keys():
            inside(folder, key, url).unlink(missing_ok=True)

        def bring(key: str) -> None:
            path = inside(folder, key, url)
            if seen.get(key) == wanted[key] and path.is_file():
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.part")
            if bucket.download(key, draft) is None:
                raise StorageError(f"{url}/{key} went away while it was read; run again")
            draft.replace(path)

        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(bring, wanted))
        write_atomically(state, json.dumps(wanted, indent=1, sort_keys=True))
    return folder
