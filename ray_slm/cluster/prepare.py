"""Prepare a corpus on the cluster: a task per source, then its shards through Ray Data.

Shards decode, check and, where a corpus comes without alignments, align.  They carry no rows, as
in tokenizing: memory stays flat, and the bytes do not depend on the number of workers.
"""

from collections.abc import Sequence

import numpy as np
import ray
import ray.data

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
    if small:  # few shards, soon done: starting Ray Data would cost as much
        ray.get([prepare_shard.options(**light).remote(stage, site, s) for s in shards])
    elif shards:
        _stream(stage, site, shards)
    ray.get(finish.options(**light).remote(stage, site))


def _stream(stage: Stage, site: Site, shards: Sequence[int]) -> None:
    """Send the numbers of shards through a map; an error keeps its kind, for the exit code."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    rows = ray.data.from_items([{"number": s} for s in shards], override_num_blocks=len(shards))
    made = rows.map_batches(_prepare_batch, fn_args=(stage, site), batch_size=1, num_cpus=1.0)
    for _ in made.iter_batches(batch_size=None):
        pass  # a shard is on disk when its number comes out; iterating keeps the stream moving


def _prepare_batch(batch: dict[str, np.ndarray], stage: Stage, site: Site) -> dict[str, np.ndarray]:
    for shard in batch["number"]:
        verbs.prepare_shard(stage, site, int(shard))
    return batch
