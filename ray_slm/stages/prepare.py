"""Prepare a corpus, or the items of a task: sources first, then shard by shard, then one summary.

Sources and shards are independent and each gives the same bytes in any process, so any number of
workers may make them, and a killed run makes only what is missing.
"""

import hashlib
from pathlib import Path

from ray_slm.recipes import PrepareCorpus, PrepareItems
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import SCRATCH
from ray_slm.stages import items
from ray_slm.stages.site import Site, made_with


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
        items.choose_pairs(stage, site)
        num_shards = recipe.num_shards
    else:
        assert isinstance(recipe, PrepareCorpus)
        recipe.corpus.settle(folder, site.places)
        num_shards = recipe.corpus.num_shards
    site.store.share(stage.address)
    return [s for s in range(num_shards) if not _mark(stage, site, _shard_mark(s)).exists()]


def prepare_shard(stage: Stage, site: Site, shard: int) -> None:
    """Make one shard: its audio, its table and its quarantine; then mark it as whole."""
    folder = site.store.gather(stage.address, f"{SCRATCH}/")
    recipe = stage.recipe
    if isinstance(recipe, PrepareCorpus):
        recipe.corpus.prepare_shard(shard, folder, site.places)
    else:
        assert isinstance(recipe, PrepareItems)
        items.prepare_items(stage, site, shard, folder)
    _done(stage, site, _shard_mark(shard), f"shard-{shard:05d}")


def finish(stage: Stage, site: Site) -> None:
    """Check the accounting, write the summary and commit."""
    folder = site.store.gather(stage.address)
    recipe = stage.recipe
    if isinstance(recipe, PrepareCorpus):
        summary = recipe.corpus.finish(folder)
    else:
        assert isinstance(recipe, PrepareItems)
        summary = items.finish_items(stage, site, folder)
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
