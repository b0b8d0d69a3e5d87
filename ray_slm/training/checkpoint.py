"""Files of a run: published models that Hugging Face opens, and checkpoints to resume from.

Both appear by one rename, so a reader sees all of a folder or none.  A resume checkpoint lists
the size and sha256 of its files in a manifest; one that does not match is named and passed over.
Nothing is pickled.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ray_slm.training.model import CONFIG, WEIGHTS

TRAINER = "trainer.json"
STATE = "state.json"
MANIFEST = "manifest.json"
SUFFIX = ".safetensors"


class Saved(NamedTuple):
    """What a run resumes from: named groups of tensors, and a JSON-ready state."""

    groups: dict[str, dict[str, Tensor]]
    state: dict


class Rejected(NamedTuple):
    """A resume checkpoint that was passed over, and why."""

    folder: Path
    reason: str


class Newest(NamedTuple):
    """The newest valid resume checkpoint, if any, and the newer ones that were not valid."""

    folder: Path | None
    rejected: tuple[Rejected, ...]


def publish(
    folder: Path, draft: Path, weights: Mapping[str, Tensor], config: dict, trainer: dict
) -> None:
    """Publish a model as config.json, model.safetensors, trainer.json, written in ``draft``.

    A folder that exists stays as it is: evaluations may have begun to read it.  ``draft`` must
    be on the same file system.
    """
    if folder.exists():
        return
    _fresh(draft)
    _write_tensors(draft / WEIGHTS, weights)
    _write_json(draft / CONFIG, config)
    _write_json(draft / TRAINER, trainer)
    _appear(draft, folder)


def save(root: Path, name: str, saved: Saved) -> Path:
    """Write a resume checkpoint, manifest last, and return its folder.

    Raises:
        ValueError: when what was written does not read back as it should.
    """
    draft = root / f"{name}.tmp"
    _fresh(draft)
    for group, tensors in saved.groups.items():
        _write_tensors(draft / f"{group}{SUFFIX}", tensors)
    _write_json(draft / STATE, saved.state)
    files = {path.name: _entry(path) for path in sorted(draft.iterdir())}
    _write_json(draft / MANIFEST, {"name": name, "files": files})
    _appear(draft, root / name)
    problem = _problem(root / name, str(saved.state["run"]))
    if problem:
        raise ValueError(f"{root / name}: {problem} just after writing; check this disk")
    return root / name


def newest_valid(root: Path, run_digest: str) -> Newest:
    """The newest resume checkpoint under ``root`` that is whole and belongs to this run."""
    rejected: list[Rejected] = []
    for folder in sorted(_folders(root), reverse=True):
        problem = _problem(folder, run_digest)
        if problem is None:
            return Newest(folder, tuple(rejected))
        rejected.append(Rejected(folder, problem))
    return Newest(None, tuple(rejected))


def load(folder: Path, device: torch.device) -> Saved:
    """A resume checkpoint that was found valid."""
    groups = {
        path.name.removesuffix(SUFFIX): load_file(path, device=str(device))
        for path in sorted(folder.glob(f"*{SUFFIX}"))
    }
    return Saved(groups, json.loads((folder / STATE).read_text(encoding="utf-8")))


def prune(root: Path, verified: Sequence[Path], keep: int = 2) -> None:
    """Delete resume checkpoints older than the ``keep`` newest that this process verified."""
    if len(verified) < keep:
        return
    oldest_kept = sorted(verified)[-keep]
    for folder in _folders(root):
        if folder < oldest_kept:
            shutil.rmtree(folder)


def _folders(root: Path) -> list[Path]:
    """Names sort by step, then by attempt."""
    return [path for path in root.glob("step-*") if path.is_dir() and path.suffix != ".tmp"]


def _problem(folder: Path, run_digest: str) -> str | None:
    """Why a resume checkpoint cannot be used, or None.  Reads every byte."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        name, files = manifest["name"], manifest["files"]
        if name != folder.name:
            return f"{MANIFEST} is that of {name}"
        for file, expected in files.items():
            if _entry(folder / file) != expected:
                return f"{file} differs from {MANIFEST}"
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is damaged ({type(error).__name__}: {error})"
    if state["run"] != run_digest:
        return f"it belongs to run {state['run']}, this is run {run_digest}"
    return None


def _entry(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(here, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes files that only their owner can read


def _write_json(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _fresh(draft: Path) -> None:
    """An empty draft folder; one that a killed process left is dropped."""
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)


def _appear(draft: Path, folder: Path) -> None:
    """Put the draft's bytes on the disk, then let the folder appear."""
    for path in [*draft.iterdir(), draft]:
        _sync(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
