"""Tokenizing by Ray Data: a stream of numbers through a map, an actor pool where audio is encoded.

Each task writes the token shard of the corpus shard it was given (or a piece of a codebook's
features), so the stream carries counts only, memory stays flat, and the bytes do not depend on the
number of workers.  Ray Data starts no more tasks than its pool takes: nothing waits in memory.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import ray
import ray.data

from ray_slm.cluster.measured import shard_tokenized
from ray_slm.cluster.watch import can_grow
from ray_slm.modalities.modality import Form
from ray_slm.modalities.speech_units import device
from ray_slm.recipes import Tokenize
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import codebook
from ray_slm.stages import tokenize as verbs
from ray_slm.stages.site import Site

ENCODER_CPUS = 1.0
TASKS_PER_PROCESSOR = 4
SHARDS_PER_ENCODER = 2  # of a cluster that can grow: each must pay for its start
TEXT_CPUS = 1.0  # fewer on one processor: each process takes seconds to start, and work less
LIGHT_CPUS = 0.25  # what is done in a moment, or waits

Batch = dict[str, np.ndarray]


class ShardTokenizer:
    """Loads the tokenizer (an encoder, say) once per actor and tokenizes shard after shard."""

    def __init__(self, stage: Stage, site: Site) -> None:
        self._stage, self._site = stage, site
        self._tokenizer = verbs.load_tokenizer(stage, site)

    def __call__(self, batch: Batch) -> Batch:
        """``number`` of shards (B,) -> ``seconds`` of audio in each (B,)."""
        return {"seconds": np.array([self._tokenize(int(shard)) for shard in batch["number"]])}

    def _tokenize(self, shard: int) -> float:
        start = time.perf_counter()
        made = verbs.tokenize_one(self._stage, self._site, self._tokenizer, shard)
        shard_tokenized(self._stage, made.seconds, time.perf_counter() - start)
        return made.seconds


class PieceEncoder:
    """Loads the encoder once per actor and encodes pieces of a codebook's sample."""

    def __init__(self, stage: Stage, site: Site) -> None:
        self._stage, self._site = stage, site
        self._encoder = codebook.stream_of(stage).extractor.load(site.places, device())

    def __call__(self, batch: Batch) -> Batch:
        """``number`` of pieces (B,) -> ``seconds`` of audio in each (B,)."""
        found = [
            codebook.encode_piece(self._stage, self._site, self._encoder, int(piece)).seconds
            for piece in batch["number"]
        ]
        return {"seconds": np.array(found)}


@ray.remote(max_retries=2, num_cpus=LIGHT_CPUS)
def finish(stage: Stage, site: Site) -> None:
    """The summary and the record; reads the vocabulary's size off the tokenizer."""
    verbs.finish(stage, site, verbs.load_tokenizer(stage, site).vocab_size)


@ray.remote(max_retries=2, num_cpus=LIGHT_CPUS)
def choose_sample(stage: Stage, site: Site) -> list[int]:
    """The pieces of a codebook's sample that are not encoded yet."""
    return codebook.begin(stage, site)


@ray.remote(max_retries=2, num_cpus=ENCODER_CPUS)
def finish_codebook(stage: Stage, site: Site) -> None:
    """K-means on the encoded sample, and the record."""
    codebook.finish(stage, site)


def tokenize(stage: Stage, site: Site) -> None:
    """All missing shards through Ray Data, then the summary and the record."""
    recipe = stage.recipe
    assert isinstance(recipe, Tokenize)
    shards = verbs.missing_shards(stage, site)
    if shards:
        audio = recipe.stream.form is Form.AUDIO
        mapped = by_encoders(ShardTokenizer) if audio else _by_tasks
        stream(shards, mapped, stage, site, verbs.pacer(stage, site, shards))
    ray.get(finish.options(name=stage.name).remote(stage, site))


def fit_codebook(stage: Stage, site: Site) -> None:
    """The sample's missing pieces through Ray Data, then k-means in one task."""
    pieces = ray.get(choose_sample.options(name=stage.name).remote(stage, site))
    if pieces:
        pacer = codebook.pacer(stage, site, pieces)
        stream(pieces, by_encoders(PieceEncoder), stage, site, pacer)
    ray.get(finish_codebook.options(name=stage.name).remote(stage, site))


Mapped = Callable[[Sequence[int], Stage, Site], ray.data.Dataset]


class Paced(Protocol):
    """Told of audio as it is done; ``pace.Pacer`` is one."""

    def add(self, seconds: float) -> None:
        """So much more."""
        ...


def stream(numbers: Sequence[int], mapped: Mapped, stage: Stage, site: Site, pacer: Paced) -> None:
    """Send numbers through a map; the pacer is told as they come out."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    for batch in mapped(numbers, stage, site).iter_batches(batch_size=None):
        pacer.add(float(batch["seconds"].sum()))


def _blocks(numbers: Sequence[int], num_blocks: int) -> ray.data.Dataset:
    rows = [{"number": number} for number in numbers]
    return ray.data.from_items(rows, override_num_blocks=num_blocks)


def by_encoders(actor: type) -> Mapped:
    """A pool of actors, sized from the cluster's GPUs, or from its processors."""

    def mapped(numbers: Sequence[int], stage: Stage, site: Site) -> ray.data.Dataset:
        gpus, most = stage.demand.gpus, pool_size(stage.demand.gpus, len(numbers))
        stream = _blocks(numbers, len(numbers)).map_batches(
            actor,
            fn_constructor_args=(stage, site),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            num_cpus=ENCODER_CPUS,
            num_gpus=gpus or None,
        )
        # Ray Data would ask an autoscaler for twice what it uses.
        stream.context.execution_options.resource_limits = ray.data.ExecutionResources(
            cpu=most * ENCODER_CPUS, gpu=most * gpus
        )
        return stream

    return mapped


def pool_size(gpus: float, num_shards: int) -> int:
    """Encoders at most: by shards where the cluster can grow, else by what it has.

    That is by GPUs where each takes some, else half its processors: a pool that could take every
    processor would starve the reader that feeds it.
    """
    if can_grow():
        return math.ceil(num_shards / SHARDS_PER_ENCODER)
    resources = ray.cluster_resources()
    if gpus:
        return min(num_shards, max(1, int(resources.get("GPU", 0) / gpus)))
    return min(num_shards, max(1, int(resources.get("CPU", 1)) // 2))


def _by_tasks(numbers: Sequence[int], stage: Stage, site: Site) -> ray.data.Dataset:
    """Plain tasks, one per processor at a time: a tokenizer is loaded in milliseconds.

    A task takes several shards, because a shard of text may cost less than starting a task.
    """
    processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
    tasks = min(len(numbers), TASKS_PER_PROCESSOR * processors)
    return _blocks(numbers, tasks).map_batches(
        _tokenize_light,
        fn_args=(stage, site),
        batch_size=None,
        num_cpus=TEXT_CPUS,
        compute=ray.data.TaskPoolStrategy(min(tasks, processors)),
    )


def _tokenize_light(batch: Batch, stage: Stage, site: Site) -> Batch:
    if stage.address not in _tokenizers:
        _tokenizers[stage.address] = ShardTokenizer(stage, site)
    return _tokenizers[stage.address](batch)


_tokenizers: dict[str, ShardTokenizer] = {}  # one per process and stage
