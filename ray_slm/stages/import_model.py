"""Take a model that was made elsewhere into the store, so that every worker can reach it."""

import shutil
from pathlib import Path

from ray_slm.recipes import ImportModel
from ray_slm.scheduling.folders import digest
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site, made_with
from ray_slm.tasks.recorded import digest_of_files

CONFIG = "config.json"
KEPT = ("*.json", "*.safetensors", "*.model", "*.txt")


def digest_of_model(folder: Path) -> str:
    """Of configuration, weights and tokenizer.  Raises ValueError when there are none."""
    return digest_of_files(folder, [path.name for path in _files(folder)])


def import_model(stage: Stage, site: Site) -> None:
    """Copy the model's files, checked against the recipe's digest, and commit."""
    recipe = stage.recipe
    assert isinstance(recipe, ImportModel)
    source = site.places[recipe.place]
    found = digest_of_model(source)
    if found != recipe.digest:
        raise ValueError(f"{source} changed: its digest is {found}, not {recipe.digest}; run again")
    folder = site.store.path(stage.address)
    folder.mkdir(parents=True, exist_ok=True)
    for path in _files(source):
        draft = folder / f"{path.name}.tmp"
        shutil.copyfile(path, draft)
        draft.replace(folder / path.name)
    weights = [path for path in _files(folder) if path.suffix == ".safetensors"]
    summary = {"weights": {path.name: digest(path) for path in weights}}
    site.store.commit(stage, summary=summary, made=made_with())


def _files(folder: Path) -> list[Path]:
    """What a model consists of; pickled weights are no part of it."""
    found = sorted({path for pattern in KEPT for path in folder.glob(pattern) if path.is_file()})
    found = [path for path in found if path.name != "record.json"]
    if not (folder / CONFIG).is_file() or not any(p.suffix == ".safetensors" for p in found):
        raise ValueError(f"{folder} has no {CONFIG} and .safetensors: is this a model's folder?")
    return found
