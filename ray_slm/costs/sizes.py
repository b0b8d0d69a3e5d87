"""How much there is to do: hours of audio, items of tasks, lengths.

Corpora and tasks say it themselves where they can (``audio_hours``, ``num_pairs``); for the
published benchmarks the counts of their papers serve.
"""

from ray_slm import recipes
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.corpus import Corpus
from ray_slm.corpora.libriheavy import LibriheavyCorpus
from ray_slm.costs.catalog import Catalog
from ray_slm.modalities.modality import Modality
from ray_slm.scheduling.plan import mean_seconds
from ray_slm.scheduling.stage import Stage
from ray_slm.study import Study
from ray_slm.tasks.task import NamedTask
from ray_slm.training.scale import table_size

FLAC_BYTES_PER_HOUR = 60e6  # speech, 16 kHz, one channel
SYMBOLS = 80  # letters and marks, or phones
# Pairs of the development sets and mean seconds of one side, by the task's name (science of the
# benchmarks: ZeroSpeech 2021, Spoken StoryCloze).  Sides are counted by ``num_items``.
PUBLISHED = {
    "swuggy": (5_000, 0.7),
    "zerospeech-swuggy": (5_000, 0.7),
    "zerospeech-sblimp": (6_300, 3.0),
    "tsc": (1_871, 16.0),
    "sblimp": (6_300, 3.0),
    "topic-storycloze": (1_871, 16.0),
}
PHENOMENA = 19  # of the grammar behind sBLIMP-style pairs
# Hours of Libriheavy's manifests, which are disjoint (Kang et al. 2023, table 1).
LIBRIHEAVY_HOURS = {
    "small": 509.0,
    "medium": 4_533.0,
    "large": 45_752.0,
    "dev": 22.3,
    "test_clean": 10.5,
    "test_other": 11.5,
    "test_clean_large": 107.5,
    "test_other_large": 100.3,
}
UNKNOWN_TASK = (2_000, 5.0)


def audio_hours(corpus: Corpus) -> float:
    """Hours of all splits.  Raises ValueError when the corpus does not tell."""
    hours = getattr(corpus, "audio_hours", None)
    if isinstance(corpus, LibriheavyCorpus):
        hours = sum(LIBRIHEAVY_HOURS[subset] for subset in corpus.splits)
    if hours is None:
        raise ValueError(
            f"the corpus {corpus.name!r} does not say how long it is: give {type(corpus).__name__} "
            "a property audio_hours, and the plan can be priced"
        )
    return float(hours)


def is_synthesized(corpus: Corpus) -> bool:
    """Whether preparing it speaks every sentence."""
    return hasattr(corpus, "voice_rung")


def is_aligned_here(corpus: Corpus) -> bool:
    """Whether preparing it aligns every utterance, because no files say what was said when."""
    return isinstance(getattr(corpus, "alignment", None), ForcedAlignment)


def num_items(task: NamedTask) -> int:
    """Sides of pairs, or prompts with their samples."""
    return 2 * _pairs_and_seconds(task)[0]


def item_hours(task: NamedTask) -> float:
    """Audio of all items in one voice."""
    pairs, seconds = _pairs_and_seconds(task)
    return 2 * pairs * seconds / 3600


def _pairs_and_seconds(task: NamedTask) -> tuple[int, float]:
    pairs, seconds = PUBLISHED.get(task.name, UNKNOWN_TASK)
    per_phenomenon = getattr(task, "num_pairs_per_phenomenon", None)
    if per_phenomenon is not None:
        return per_phenomenon * PHENOMENA, seconds
    return getattr(task, "num_pairs", pairs), seconds


def source_hours(source: Stage) -> float:
    """Audio that a prepared corpus or a task's items hold, all voices counted."""
    recipe = source.recipe
    if isinstance(recipe, recipes.PrepareCorpus):
        return audio_hours(recipe.corpus)
    if isinstance(recipe, recipes.PreparePrompts):
        return recipe.task.num_prompts * 2 * recipe.task.prompt_seconds / 3600
    assert isinstance(recipe, recipes.PrepareItems)
    return item_hours(recipe.task) * len(recipe.voices)


def mean_tokens(study: Study, modality: Modality) -> float:
    """Tokens of a mean utterance, its end included."""
    return mean_seconds(study) * modality.nominal_tokens_per_second + 1


def rows(stream: object) -> int:
    """Rows of the embedding table; where no field counts symbols, they are letters or phones."""
    fitted = getattr(stream, "vocab_size", None) or getattr(stream, "num_units", None)
    return table_size(int(fitted or SYMBOLS))


def fit_hours(stream: object) -> float:
    """Audio that the fit of a codebook encodes."""
    return float(getattr(stream, "sample_minutes", 60)) / 60


def encoder_flops(stream: object, catalog: Catalog) -> float:
    """FLOPs for one second of audio, by the checkpoint that the stream's extractor names."""
    extractor = getattr(stream, "extractor", None)
    name = getattr(extractor, "checkpoint", None) or getattr(extractor, "model", "")
    return catalog.encoder_flops.get(str(name), catalog.encoder_flops["other"])
