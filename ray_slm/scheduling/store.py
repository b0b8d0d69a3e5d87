"""The store: addresses to folders.  A result exists when its ``record.json`` does.

Files are written first, each under a temporary name and renamed; the record, which lists the
size and sha256 of every file, comes last.  What is under ``scratch/``, starts with a dot or ends
in ``.tmp`` is working state, never part of a result.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ray_slm.scheduling.stage import Stage

RECORD = "record.json"
SCRATCH = "scratch"


@dataclasses.dataclass(frozen=True)
class Store:
    """Results under one root folder that every worker can reach."""

    root: Path

    def path(self, address: str) -> Path:
        """The folder of a result, whether or not it exists."""
        return self.root / address

    def has(self, address: str) -> bool:
        """Whether the result is whole."""
        return (self.path(address) / RECORD).is_file()

    def record(self, address: str) -> dict:
        """The record of a result.  Raises ValueError naming the file when it is damaged."""
        path = self.path(address) / RECORD
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            raise ValueError(f"{path} is missing: run the study to make it") from None
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path} is damaged ({error}); delete this file and run again"
            ) from None
        assert isinstance(record, dict)
        return record

    def scratch(self, address: str) -> Path:
        """A folder for working state of one result, outside its record."""
        folder = self.path(address) / SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def commit(
        self, stage: Stage, *, part: str = "", summary: Mapping[str, object], made: object
    ) -> None:
        """Publish a result: hash its files, then write the record atomically, last."""
        folder = self.path(stage[part].address)
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "address": stage[part].address,
            "stage": stage.name,
            "part": part,
            "fingerprint": stage.fingerprint,
            "identity": stage.identity,
            "inputs": {role: artifact.address for role, artifact in stage.inputs.items()},
            "files": {
                str(path.relative_to(folder)): {
                    "bytes": path.stat().st_size,
                    "sha256": digest(path),
                }
                for path in result_files(folder)
            },
            "summary": dict(summary),
            "made": made,
            "written_at": time.time(),
        }
        write_atomically(folder / RECORD, json.dumps(record, indent=1, sort_keys=True))
        if not part:
            shutil.rmtree(folder / SCRATCH, ignore_errors=True)

    def versions(self, name: str) -> list[dict]:
        """All records under one stage name, newest first: what `why` compares with."""
        paths = (self.root / name).glob(f"*/{RECORD}")
        records = [self.record(str(path.parent.relative_to(self.root))) for path in paths]
        return sorted(records, key=lambda record: -float(record["written_at"]))

    def verify(self, address: str) -> list[str]:
        """Re-hash every file of a result; one line for each that differs or is missing."""
        folder, problems = self.path(address), []
        for name, expected in self.record(address)["files"].items():
            path = folder / name
            if not path.is_file():
                problems.append(f"{path}: missing")
            elif path.stat().st_size != expected["bytes"] or digest(path) != expected["sha256"]:
                problems.append(f"{path}: content differs from its record")
        return problems


def result_files(folder: Path) -> Iterator[Path]:
    """The files of a result: neither its record, nor scratch, nor parts with their own record."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix == ".tmp":
            continue
        if path.is_file() and path.name != RECORD:
            yield path
        elif path.is_dir() and path.name != SCRATCH and not (path / RECORD).exists():
            yield from result_files(path)


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees all of it or none, also after a power cut."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
