"""Fit a vocabulary and tokenize: each corpus shard becomes exactly one token shard per split.

Membership of a shard is a hash of the id, so there is nothing to shuffle: any number of workers
writes the same bytes, and a killed run goes on with the shards it lacks.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet, token_finish
from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.utterance import (
    SAMPLE_RATE_HZ,
    SCHEMA,
    Utterance,
    num_shards,
    read_tables,
    shard_path,
)
from ray_slm.modalities.modality import DerivedStream, FittedStream, Form, Tokenizer
from ray_slm.pace import Pacer
from ray_slm.recipes import FitVocabulary, PrepareCorpus, Tokenize
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site, made_with
from ray_slm.token_shards import ShardCounts, Source, is_tokenized, tokenize_shard
from ray_slm.token_sources import CorpusRows, UnitRows
from ray_slm.tokens import TRAINING_SPLIT

PACED_ROWS = 65_536
TABLES = "utterances/"  # of a corpus: what the rows of its shards are, without any audio


def fit_vocabulary(stage: Stage, site: Site) -> None:
    """Fit on the training split only, and commit the vocabulary's files."""
    recipe = stage.recipe
    assert isinstance(recipe, FitVocabulary)
    assert isinstance(recipe.stream, FittedStream)
    folder = vocabulary_folder(stage, site)
    waveform = waveform_reader(stage, site)
    summary = recipe.stream.fit(training_tables(stage, site), waveform, folder, site.places)
    site.store.commit(stage, summary=summary, made=made_with())


def vocabulary_folder(stage: Stage, site: Site) -> Path:
    """Where a vocabulary's files are written."""
    folder = site.store.path(stage.address)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def training_tables(stage: Stage, site: Site) -> Iterator[pa.Table]:
    """The training split as the stage's stream reads it, a few thousand utterances at a time.

    A fitting on audio gets the phones too: they tell the quality of units.
    """
    recipe = stage.recipe
    assert isinstance(recipe, FitVocabulary)
    corpus = _corpus(stage, site)
    if isinstance(recipe.stream, DerivedStream):
        rows = UnitRows(_units(stage, site), corpus)
        for shard in range(num_shards(corpus)):
            yield from rows.of_split(shard, TRAINING_SPLIT)
        return
    form = recipe.stream.form
    columns = SCHEMA.names if form is Form.AUDIO else form.columns
    yield from read_tables(corpus, columns, TRAINING_SPLIT)


def waveform_reader(stage: Stage, site: Site, shard: str = "") -> Callable[[Utterance], np.ndarray]:
    """Utterance -> float32 (S,) at 16 kHz, from the stage's corpus or one shard of it."""
    return partial(read_audio, _corpus(stage, site, shard), places=site.places)


def load_tokenizer(stage: Stage, site: Site) -> Tokenizer:
    """The stream's tokenizer, with the vocabulary among the stage's inputs if it has one."""
    recipe = stage.recipe
    assert isinstance(recipe, Tokenize)
    vocabulary = stage.inputs.get("vocabulary")
    folder = site.store.path(vocabulary.address) if vocabulary else None
    return recipe.stream.load(folder, site.places)


def missing_shards(stage: Stage, site: Site) -> list[int]:
    """Shards of the corpus that have no token shard yet."""
    out = site.store.gather(stage.address)
    site.store.share(stage.address, "shard-")  # what a driver that was killed here did not send
    corpus = _tables(stage, site)
    return [shard for shard in range(num_shards(corpus)) if not is_tokenized(out, shard)]


def tokenize_one(stage: Stage, site: Site, tokenizer: Tokenizer, shard: int) -> ShardCounts:
    """Tokenize one shard and let other nodes have it."""
    out = site.store.path(stage.address)
    name = f"shard-{shard:05d}"
    source, waveform = _source(stage, site, name), waveform_reader(stage, site, name)
    counts = tokenize_shard(source, shard, tokenizer, waveform, out)
    site.store.share(stage.address, name)
    return counts


def finish(stage: Stage, site: Site, vocab_size: int) -> None:
    """Check that every shard is there, sum up, and commit.

    Raises QuarantineLimitError when one reason took more of a corpus than it tolerates.
    """
    missing = missing_shards(stage, site)
    assert not missing, f"{stage.address} lacks the shards {missing}"
    corpus = _tables(stage, site)
    out, most = site.store.path(stage.address), _max_bad_fraction(stage)
    summary = token_finish.finish(out, corpus, vocab_size, most)
    site.store.commit(stage, summary=summary, made=made_with())


def _max_bad_fraction(stage: Stage) -> float:
    """The corpus's own; items may lack what a modality reads, and their task counts them."""
    source = stage.inputs["corpus"].stage.recipe
    return source.corpus.max_bad_fraction if isinstance(source, PrepareCorpus) else 1.0


def pacer(stage: Stage, site: Site, shards: list[int]) -> Pacer:
    """A pace over the audio of ``shards``, the others being done."""
    corpus = _tables(stage, site)
    of_shard = [_seconds(corpus, shard) for shard in range(num_shards(corpus))]
    total, left = sum(of_shard), sum(of_shard[shard] for shard in shards)
    return Pacer(site.store.scratch(stage.address), before=total - left, total=total)


def _seconds(corpus: Path, shard: int) -> float:
    tables = parquet.read_batches(shard_path(corpus, shard), ["num_samples"], PACED_ROWS)
    return sum(float(pc.sum(one["num_samples"]).as_py()) for one in tables) / SAMPLE_RATE_HZ


def _source(stage: Stage, site: Site, shard: str) -> Source:
    recipe = stage.recipe
    assert isinstance(recipe, Tokenize)
    corpus = _corpus(stage, site, shard)
    if isinstance(recipe.stream, DerivedStream):
        return UnitRows(_units(stage, site, shard), corpus)
    return CorpusRows(corpus, recipe.stream.form)


def _corpus(stage: Stage, site: Site, shard: str = "") -> Path:
    """The files of a corpus, or of one shard, that the stage's stream reads."""
    assert isinstance(stage.recipe, FitVocabulary | Tokenize)
    heard = stage.recipe.stream.form is Form.AUDIO  # neither text nor phones touch audio
    only = shard if heard else f"{TABLES}{shard}"
    return site.store.path(stage.inputs["corpus"].address, only)


def _tables(stage: Stage, site: Site) -> Path:
    return site.store.path(stage.inputs["corpus"].address, TABLES)


def _units(stage: Stage, site: Site, only: str = "") -> Path:
    return site.store.path(stage.inputs["units"].address, only)
