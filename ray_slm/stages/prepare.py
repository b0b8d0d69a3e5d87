"""Prepare a corpus, or the items of a task: sources first, then shard by shard, then one summary.

Sources and shards are independent and each gives the same bytes in any process, so any number of
workers may make them, and a killed run makes only what is missing.
"""

import hashlib
import json
from pathlib import Path

from ray_slm.corpora.synthesis import load_speaker
from ray_slm.recipes import PrepareCorpus, PrepareItems
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import SCRATCH, write_atomically
from ray_slm.stages.site import Site, made_with
from ray_slm.tasks import items
from ray_slm.tasks.task import Items, Pair

PAIRS = "pairs.json"


def begin(stage: Stage, site: Site) -> list[str]:
    """The sources that must still be read before any shard."""
    site.store.gather(stage.address).mkdir(parents=True, exist_ok=True)
    recipe = stage.recipe
    if isinstance(recipe, PrepareItems):
        return []
    assert isinstance(recipe, PrepareCorpus)
    sources = recipe.corpus.sources(site.places)
    return [each for each in sources if not _mark(stage, site, _source_mark(each)).exists()]


def survey(stage: Stage, site: Site, source: str) -> None:
    """Read one source of a corpus; then mark it as read."""
    recipe = stage.recipe
    assert isinstance(recipe, PrepareCorpus)
    recipe.corpus.survey(source, site.store.path(stage.address), site.places)
    _done(stage, site, _source_mark(source), f"{SCRATCH}/")


def settle(stage: Stage, site: Site) -> list[int]:
    """Do what stands between sources and shards; the shards that are missing."""
    folder = site.store.gather(stage.address)
    recipe = stage.recipe
    if isinstance(recipe, PrepareItems):
        _choose_pairs(stage, recipe, site)
        num_shards = recipe.num_shards
    else:
        assert isinstance(recipe, PrepareCorpus)
        recipe.corpus.settle(folder, site.places)
        num_shards = recipe.corpus.num_shards
    site.store.share(stage.address, f"{SCRATCH}/")
    return [s for s in range(num_shards) if not _mark(stage, site, _shard_mark(s)).exists()]


def prepare_shard(stage: Stage, site: Site, shard: int) -> None:
    """Make one shard: its audio, its table and its quarantine; then mark it as whole."""
    folder = site.store.gather(stage.address, f"{SCRATCH}/")
    recipe = stage.recipe
    if isinstance(recipe, PrepareCorpus):
        recipe.corpus.prepare_shard(shard, folder, site.places)
    else:
        assert isinstance(recipe, PrepareItems)
        speaker = load_speaker(recipe.voice_rung, recipe.voices, site.places)
        pairs = _pairs(stage, site).pairs
        items.prepare_shard(pairs, recipe.voices, shard, recipe.num_shards, folder, speaker)
    _done(stage, site, _shard_mark(shard), f"shard-{shard:05d}")


def finish(stage: Stage, site: Site) -> None:
    """Check the accounting, write the summary and commit."""
    folder = site.store.gather(stage.address)
    recipe = stage.recipe
    if isinstance(recipe, PrepareCorpus):
        summary = recipe.corpus.finish(folder)
    else:
        assert isinstance(recipe, PrepareItems)
        summary = items.finish_items(folder, _pairs(stage, site), recipe.voices)
    site.store.commit(stage, summary=summary, made=made_with())


def _done(stage: Stage, site: Site, mark: str, made: str) -> None:
    """Mark a part as done once other nodes can have the files it made."""
    site.store.share(stage.address, made)
    _mark(stage, site, mark).touch()
    site.store.share(stage.address, mark)


def _mark(stage: Stage, site: Site, name: str) -> Path:
    path: Path = site.store.scratch(stage.address) / name
    return path


def _shard_mark(shard: int) -> str:
    return f"shard-{shard:05d}.whole"


def _source_mark(source: str) -> str:
    """Sources are named as files are: only a hash fits any file system."""
    return f"source-{hashlib.sha256(source.encode()).hexdigest()[:16]}.whole"


def _choose_pairs(stage: Stage, recipe: PrepareItems, site: Site) -> None:
    """Make the pairs once; shards read them from scratch."""
    path = site.store.scratch(stage.address) / PAIRS
    if path.exists():
        return
    made = recipe.task.items(site.store.path(stage.inputs["corpus"].address))
    content = {"pairs": [vars(pair) for pair in made.pairs], "remarks": made.remarks}
    write_atomically(path, json.dumps(content))


def _pairs(stage: Stage, site: Site) -> Items:
    path: Path = site.store.scratch(stage.address) / PAIRS
    content = json.loads(path.read_text())
    return Items(tuple(Pair(**pair) for pair in content["pairs"]), content["remarks"])
