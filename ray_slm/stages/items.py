"""Items of a task: pairs chosen or read once, then their shards, then one summary.

A task makes its pairs from the corpus, reads them from the user's copy of a benchmark, or reads
recordings from there; the study's voices speak what is not recorded.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ray_slm import parquet
from ray_slm.corpora.synthesis import load_speaker
from ray_slm.recipes import PrepareItems
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import write_atomically
from ray_slm.stages.site import Site
from ray_slm.tasks import items
from ray_slm.tasks.recorded import RecordedItems, Recording, check_digest, phone_spellings
from ray_slm.tasks.recorded_shard import prepare_recordings
from ray_slm.tasks.task import Items, Pair

PAIRS = "pairs.json"
GOLD = "gold.parquet"  # utterance, and the gold file's columns: what official figures group by


def choose_pairs(stage: Stage, site: Site) -> None:
    """Make or read the pairs once; shards read them from scratch."""
    path = site.store.scratch(stage.address) / PAIRS
    if path.exists():
        return
    task: Any = _recipe(stage).task  # of one of three protocols
    content: dict[str, object] = {}
    if hasattr(task, "place"):
        folder = _folder(stage, site)
        check_digest(task, folder)
        made = task.recorded(folder) if hasattr(task, "recorded") else task.read(folder)
        if isinstance(made, RecordedItems):
            content["recordings"] = [each._asdict() for each in made.recordings]
            content["gold"] = [dict(row) for row in made.gold]
    else:
        made = task.items(site.store.path(stage.inputs["corpus"].address))
    content |= {"pairs": [vars(pair) for pair in made.pairs], "remarks": made.remarks}
    write_atomically(path, json.dumps(content))


def prepare_items(stage: Stage, site: Site, shard: int, folder: Path) -> None:
    """Make one shard of the items in ``folder``."""
    recipe, content = _recipe(stage), _content(stage, site)
    if "recordings" in content:
        recordings = [
            Recording(**{**row, "phones": tuple(row["phones"])}) for row in content["recordings"]
        ]
        root = _folder(stage, site)
        spellings = phone_spellings(root / getattr(recipe.task, "folder", ""))
        prepare_recordings(
            recordings, shard, recipe.num_shards, folder, root, site.places, spellings
        )
        return
    speaker = load_speaker(recipe.voice_rung, recipe.voices, site.places)
    pairs = _items(content).pairs
    items.prepare_shard(pairs, recipe.voices, shard, recipe.num_shards, folder, speaker)


def finish_items(stage: Stage, site: Site, folder: Path) -> dict[str, object]:
    """Check the accounting and write what belongs to all shards; the summary."""
    recipe, content = _recipe(stage), _content(stage, site)
    if "recordings" not in content:
        return items.finish_items(folder, _items(content), recipe.voices)
    voices = sorted({row["voice"] for row in content["recordings"]})
    candidates = len(content["recordings"])
    parquet.write_frame(folder / GOLD, pd.DataFrame(content["gold"]))
    return items.finish_items(folder, _items(content), voices, candidates=candidates)


def _recipe(stage: Stage) -> PrepareItems:
    assert isinstance(stage.recipe, PrepareItems)
    return stage.recipe


def _folder(stage: Stage, site: Site) -> Path:
    """Where the user's copy lies."""
    task: Any = _recipe(stage).task
    if task.place not in site.places:
        raise ValueError(
            f"{task.name} is read from the user's copy at the place {task.place!r}, which is not "
            f"set; pass `--place {task.place}=FOLDER`"
        )
    return Path(site.places[task.place])


def _content(stage: Stage, site: Site) -> dict:
    found: dict = json.loads((site.store.scratch(stage.address) / PAIRS).read_text())
    return found


def _items(content: dict) -> Items:
    return Items(tuple(Pair(**pair) for pair in content["pairs"]), content["remarks"])
