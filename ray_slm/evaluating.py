"""Evaluate any checkpoints on any tasks: what `ray-slm evaluate` does.

A checkpoint is one of the study's own, by address, by name or by path, or the folder of a Hugging
Face model.  The same stages run on the same backends as inside a study, so results are found again.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ray_slm import errors, launch
from ray_slm.scheduling import lease
from ray_slm.scheduling.evaluation_stages import Candidate, Grid, Precision, grid, imported, trained
from ray_slm.scheduling.places import Places
from ray_slm.scheduling.store import Store
from ray_slm.stages.import_model import digest_of_model
from ray_slm.study import Study
from ray_slm.tasks.recorded import slug

PRECISIONS: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16"}


class Wanted(NamedTuple):
    """What to evaluate, and how."""

    checkpoints: Sequence[str]
    tasks: Sequence[str]
    modality: str | None = None  # of models made elsewhere that read units or phones
    precision: Precision = "fp32"
    backend: str = "ray"


def wanted(
    checkpoints: Sequence[str],
    tasks: Sequence[str],
    modality: str | None,
    precision: str,
    backend: str,
) -> Wanted:
    """What the command line asks for.  Raises ValueError for words it does not know."""
    if backend not in ("ray", "local"):
        raise ValueError(f"--backend {backend!r}: use ray or local")
    if precision not in PRECISIONS:
        raise ValueError(f"--precision {precision!r}: use fp32 or bf16")
    return Wanted(checkpoints, tasks, modality, PRECISIONS[precision], backend)


def evaluate(study: Study, wanted: Wanted, store: Store, places: Places) -> Grid:
    """Run what is missing; the grid, all of it in the store.

    Raises:
        ValueError: for what is no checkpoint, task or modality; the first failure otherwise.
    """
    candidates, places = find_candidates(study, wanted, store, places)
    tasks = [find_task(study, name, places) for name in wanted.tasks or _names(study.tasks)]
    made = grid(study, candidates, tasks, precision=wanted.precision)
    missing = [stage for stage in made.stages if not store.has(stage.address)]
    if missing:
        store.root.mkdir(parents=True, exist_ok=True)
        with lease.held(store.lease_entries, store.location) as held:
            fenced = dataclasses.replace(store, fence=held.number)
            outcome = launch.drive(
                study, made.stages, fenced, wanted.backend, places, held, quiet=True
            )
        for name, error in outcome.failed.items():
            kind = type(error) if isinstance(error, errors.ResourceError) else ValueError
            raise kind(f"{name}: {launch.first_line(error)}") from error
    return made


def find_candidates(
    study: Study, wanted: Wanted, store: Store, places: Places
) -> tuple[list[Candidate], Places]:
    """The checkpoints that were asked for; folders of models become places of their own."""
    known = [c for c in trained(study) if store.has(c.checkpoint.address)]
    found: list[Candidate] = []
    for text in wanted.checkpoints:
        own = [c for c in known if _is_meant(text, c, store)]
        if not own and (Path(text) / "config.json").is_file():
            folder = Path(text).resolve()
            own = [_foreign(study, wanted, folder)]
            places = places.with_folder(f"model-{digest_of_model(folder)}", folder)
        if not own:
            near = ", ".join(c.label for c in known[:4]) or "none is published yet"
            raise ValueError(
                f"{text!r} is neither a published checkpoint of {study.name} in "
                f"{store.location} nor a folder with config.json; the former are e.g. {near}"
            )
        found += own
    labels = [candidate.label for candidate in found]
    if len(set(labels)) < len(labels):
        raise ValueError(f"two checkpoints of one name: {sorted(labels)}; rename a folder")
    return found, places


def _is_meant(text: str, candidate: Candidate, store: Store) -> bool:
    """By label or a leading part of it, by address, or by the path of its folder."""
    address = candidate.checkpoint.address
    if text in (candidate.label, address):
        return True
    if f"{candidate.label}/".startswith(f"{text.removeprefix('train/').rstrip('/')}/"):
        return True
    return Path(text).is_absolute() and Path(text) == store.root / address


def _foreign(study: Study, wanted: Wanted, folder: Path) -> Candidate:
    digest = digest_of_model(folder)
    modality = None
    if wanted.modality is not None:
        by_name = {modality.name: modality for modality in study.modalities}
        if wanted.modality not in by_name:
            raise ValueError(f"--modality {wanted.modality!r}: {study.name} has {[*by_name]}")
        modality = by_name[wanted.modality]
    return imported(f"model-{digest}", digest, slug(folder.name) or "model", modality)


def find_task(study: Study, name: str, places: Mapping[str, Path]) -> Any:
    """The study's task of that name, else the package's; a benchmark pinned to the user's copy."""
    from ray_slm.tasks.discovery import discover

    known = {**discover(), **{task.name: task for task in study.tasks}}
    if name not in known:
        raise ValueError(f"--task {name!r}: use one of {', '.join(known)}")
    task: Any = known[name]
    if not hasattr(task, "place") or task.digest:
        return task
    if task.place not in places:
        raise ValueError(f"{name} is read from your copy: pass `--place {task.place}=FOLDER`")
    return dataclasses.replace(task, digest=task.digest_of(places[task.place]))


def _names(tasks: Sequence[Any]) -> list[str]:
    return [task.name for task in tasks]
