"""Prepare a corpus on the cluster: a task per source, then one per shard, steered by a thread."""

import ray

from ray_slm.recipes import PrepareItems
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import prepare as verbs
from ray_slm.stages.site import Site

ITEMS_CPUS = 0.25  # minutes of speech beside training runs that hold most processors


@ray.remote(max_retries=2)
def begin(stage: Stage, site: Site) -> list[str]:
    """Which sources are to be read: listing them may take its time."""
    return verbs.begin(stage, site)


@ray.remote(max_retries=2)
def survey(stage: Stage, site: Site, source: str) -> None:
    """One source of a corpus, read as a stream."""
    verbs.survey(stage, site, source)


@ray.remote(max_retries=2)
def settle(stage: Stage, site: Site) -> list[int]:
    """What stands between sources and shards, for a task the choice of its pairs."""
    return verbs.settle(stage, site)


@ray.remote(max_retries=2)
def prepare_shard(stage: Stage, site: Site, shard: int) -> None:
    """One shard; the same bytes in any process."""
    verbs.prepare_shard(stage, site, shard)


@ray.remote(max_retries=2)
def finish(stage: Stage, site: Site) -> None:
    """The summary and the record."""
    verbs.finish(stage, site)


def prepare(stage: Stage, site: Site) -> None:
    """All missing sources, all missing shards, then the summary and the record."""
    small = isinstance(stage.recipe, PrepareItems)
    light = {"num_cpus": ITEMS_CPUS, "name": stage.name}
    heavy = light if small else {"num_cpus": 1.0, "name": stage.name}
    sources = ray.get(begin.options(**light).remote(stage, site))
    ray.get([survey.options(**heavy).remote(stage, site, source) for source in sources])
    shards = ray.get(settle.options(**light).remote(stage, site))
    tasks = [prepare_shard.options(**heavy).remote(stage, site, shard) for shard in shards]
    ray.get(tasks)
    ray.get(finish.options(**light).remote(stage, site))
