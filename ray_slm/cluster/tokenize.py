"""Tokenize a corpus by Ray Data: a stream of shard numbers through a map, an actor pool for audio.

Each task writes the token shard of the corpus shard it was given, so the stream carries counts
only, memory stays flat, and the bytes do not depend on the number of workers.
"""

import numpy as np
import ray
import ray.data

from ray_slm.modalities.modality import Form
from ray_slm.recipes import Tokenize
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import tokenize as verbs
from ray_slm.stages.site import Site

ENCODER_CPUS = 1.0
LIGHT_CPUS = 0.25  # a look-up table or SentencePiece: seconds of work


class ShardTokenizer:
    """Loads the tokenizer (an encoder, say) once per actor and tokenizes shard after shard."""

    def __init__(self, stage: Stage, site: Site) -> None:
        self._stage, self._site = stage, site
        self._tokenizer = verbs.load_tokenizer(stage, site)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``shard`` numbers (B,) -> ``num_utterances`` (B,)."""
        counts = [
            verbs.tokenize_shard(self._stage, self._site, self._tokenizer, int(shard))
            for shard in batch["shard"]
        ]
        return {"num_utterances": np.array(counts)}


@ray.remote(max_retries=2, num_cpus=LIGHT_CPUS)
def finish(stage: Stage, site: Site) -> None:
    """The summary and the record; reads the vocabulary's size off the tokenizer."""
    verbs.finish(stage, site, verbs.load_tokenizer(stage, site).vocab_size)


def tokenize(stage: Stage, site: Site) -> None:
    """All missing shards through Ray Data, then the summary and the record."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    recipe = stage.recipe
    assert isinstance(recipe, Tokenize)
    shards = verbs.missing_shards(stage, site)
    if shards:
        stream = ray.data.from_items(
            [{"shard": s} for s in shards], override_num_blocks=len(shards)
        )
        counted = _mapped(stream, stage, site, audio=recipe.stream.form is Form.AUDIO)
        for _batch in counted.iter_batches(batch_size=None):
            pass  # each batch is a shard on disk already; iterating keeps the stream moving
    ray.get(finish.options(name=stage.name).remote(stage, site))


def _mapped(stream: ray.data.Dataset, stage: Stage, site: Site, *, audio: bool) -> ray.data.Dataset:
    if not audio:
        return stream.map_batches(
            _tokenize_light, fn_args=(stage, site), batch_size=1, num_cpus=LIGHT_CPUS
        )
    # A pool that could take every processor would starve the reader that feeds it.
    most = max(1, int(ray.cluster_resources().get("CPU", 1)) // 2)
    return stream.map_batches(
        ShardTokenizer,
        fn_constructor_args=(stage, site),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
        num_cpus=ENCODER_CPUS,
    )


def _tokenize_light(
    batch: dict[str, np.ndarray], stage: Stage, site: Site
) -> dict[str, np.ndarray]:
    return _light(stage.address, stage, site)(batch)


_tokenizers: dict[str, ShardTokenizer] = {}


def _light(address: str, stage: Stage, site: Site) -> ShardTokenizer:
    """One tokenizer per process and stage: a look-up table or a SentencePiece model."""
    if address not in _tokenizers:
        _tokenizers[address] = ShardTokenizer(stage, site)
    return _tokenizers[address]
