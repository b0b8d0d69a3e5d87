"""Made-up sentences as a corpus of the store, and the stages that tokenize them: what the
benchmarks of tokenizing share."""

import shutil
from pathlib import Path
from typing import NamedTuple

from benchmarks.sentences import Sentences
from ray_slm.modalities import phone_bpe, phone_raw, phone_repeat, text_bpe, text_raw
from ray_slm.modalities.modality import FittedStream, Modality
from ray_slm.recipes import FitVocabulary, PrepareCorpus, Tokenize
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import tokenize as verbs
from ray_slm.stages.site import Site

MODALITIES: tuple[Modality, ...] = tuple(
    module.MODALITY for module in (text_bpe, text_raw, phone_bpe, phone_raw, phone_repeat)
)
REPOSITORY = Path(__file__).parents[1]


class Work(NamedTuple):
    """A corpus on disk and the stages that tokenize it, by modality."""

    site: Site
    corpus: Stage
    stages: dict[str, Stage]

    def folder(self, name: str) -> Path:
        """Where the tokens of a modality lie."""
        return self.site.store.root / self.stages[name].address


def prepared(root: Path, num_sentences: int, num_shards: int) -> Work:
    """Write the corpus, fit the vocabularies; nothing is tokenized yet."""
    site = Site(Store(root), {"assets": REPOSITORY / ".assets"})
    recipe = Sentences(num_sentences=num_sentences, num_shards=num_shards)
    corpus = Stage(name="corpus/sentences", recipe=PrepareCorpus(corpus=recipe))
    if not site.store.has(corpus.address):
        recipe.prepare(site.store.path(corpus.address), site.places)
        site.store.commit(corpus, summary={}, made="here")
    stages = {}
    for modality in MODALITIES:
        inputs = {"corpus": corpus[""]}
        if isinstance(modality.stream, FittedStream):
            name, fitting = f"vocabulary/{modality.name}", FitVocabulary(stream=modality.stream)
            vocabulary = Stage(name=name, recipe=fitting, inputs=inputs)
            inputs = {**inputs, "vocabulary": vocabulary[""]}
            if not site.store.has(vocabulary.address):
                _fit(vocabulary, modality.stream, site)
        name, tokenizing = f"tokens/{modality.name}/sentences", Tokenize(stream=modality.stream)
        stages[modality.name] = Stage(name=name, recipe=tokenizing, inputs=inputs)
    return Work(site, corpus, stages)


def _fit(vocabulary: Stage, stream: FittedStream, site: Site) -> None:
    """On a few thousand sentences: how long fitting takes is not the question here."""
    first = next(iter(verbs.training_tables(vocabulary, site)))
    folder = verbs.vocabulary_folder(vocabulary, site)
    summary = stream.fit([first], verbs.waveform_reader(vocabulary, site), folder, {})
    site.store.commit(vocabulary, summary=summary, made="here")


def forgotten(work: Work, name: str) -> Work:
    """The same work with a modality's tokens removed; a new store has seen nothing."""
    shutil.rmtree(work.folder(name), ignore_errors=True)
    return work._replace(site=work.site._replace(store=Store(work.site.store.root)))
