"""Prepare a corpus on the cluster: one task per shard, steered by a zero-CPU task."""

import ray

from ray_slm.scheduling.stage import Stage
from ray_slm.stages import prepare as verbs
from ray_slm.stages.site import Site


@ray.remote(max_retries=2, num_cpus=1)
def prepare_shard(stage: Stage, site: Site, shard: int) -> None:
    """One shard; the same bytes in any process."""
    verbs.prepare_shard(stage, site, shard)


@ray.remote(max_retries=2, num_cpus=0)
def prepare(stage: Stage, site: Site) -> None:
    """All missing shards, then the summary and the record."""
    shards = verbs.begin(stage, site)
    ray.get([prepare_shard.remote(stage, site, shard) for shard in shards])
    verbs.finish(stage, site)
