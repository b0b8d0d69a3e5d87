"""Fit a vocabulary and tokenize: each corpus shard becomes exactly one token shard per split.

Membership of a shard is a hash of the id, so there is nothing to shuffle: any number of workers
writes the same bytes, and a killed run goes on with the shards it lacks.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ray_slm import tokens
from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.utterance import Utterance, num_shards, read_utterances
from ray_slm.modalities.modality import Tokenizer
from ray_slm.recipes import FitVocabulary, Tokenize
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site, made_with


def fit_vocabulary(stage: Stage, site: Site) -> None:
    """Fit on the training split only, and commit the vocabulary's files."""
    recipe = stage.recipe
    assert isinstance(recipe, FitVocabulary)
    corpus = site.store.path(stage.inputs["corpus"].address)
    folder = site.store.path(stage.address)
    folder.mkdir(parents=True, exist_ok=True)
    training = read_utterances(corpus, ("train",))
    summary = recipe.stream.fit(training, waveform_reader(corpus), folder, site.places)
    site.store.commit(stage, summary=summary, made=made_with())


def waveform_reader(corpus: Path) -> Callable[[Utterance], np.ndarray]:
    """Utterance -> float32 (S,) at 16 kHz, from the corpus folder."""
    return partial(read_audio, corpus)


def load_tokenizer(stage: Stage, site: Site) -> Tokenizer:
    """The stream's tokenizer, with the vocabulary among the stage's inputs if it has one."""
    recipe = stage.recipe
    assert isinstance(recipe, Tokenize)
    vocabulary = stage.inputs.get("vocabulary")
    folder = site.store.path(vocabulary.address) if vocabulary else None
    return recipe.stream.load(folder, site.places)


def missing_shards(stage: Stage, site: Site) -> list[int]:
    """Shards of the corpus that have no token shard yet."""
    corpus = site.store.path(stage.inputs["corpus"].address)
    out = site.store.path(stage.address)
    return [s for s in range(num_shards(corpus)) if not tokens.is_tokenized(out, s)]


def tokenize_shard(stage: Stage, site: Site, tokenizer: Tokenizer, shard: int) -> int:
    """Tokenize one shard; returns how many utterances it held."""
    corpus = site.store.path(stage.inputs["corpus"].address)
    out = site.store.path(stage.address)
    counts = tokens.tokenize_shard(corpus, shard, tokenizer, waveform_reader(corpus), out)
    return counts.num_in


def finish(stage: Stage, site: Site, vocab_size: int) -> None:
    """Check that every shard is there, sum up, and commit."""
    missing = missing_shards(stage, site)
    assert not missing, f"{stage.address} lacks the shards {missing}"
    summary = tokens.finish(site.store.path(stage.address), vocab_size)
    site.store.commit(stage, summary=summary, made=made_with())
