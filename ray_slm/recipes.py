"""The kinds of stage.  A closed set: another kind is a design change, not a plug-in.

Every field is identity.  Raise a recipe's REVISION when the meaning of its code changes.
"""

import dataclasses
from typing import ClassVar, Literal

from ray_slm.corpora.corpus import Corpus
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.modalities.modality import Stream
from ray_slm.tasks.continuation import Continuation, UnitVocoder
from ray_slm.tasks.task import NamedTask
from ray_slm.training.scale import Batching, Ending, Optimizer, Scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareCorpus:
    """Make the utterance table, the audio and the alignment of a corpus."""

    REVISION: ClassVar[int] = 1
    corpus: Corpus


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareItems:
    """Make the items of a task from a prepared corpus, spoken in each voice."""

    REVISION: ClassVar[int] = 1
    task: NamedTask
    voices: tuple[str, ...]
    voice_rung: str
    num_shards: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparePrompts:
    """Cut held-out utterances into prompts and what really followed, as items of their own."""

    REVISION: ClassVar[int] = 1
    task: Continuation


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitVocoder:
    """Fit the decoder that makes a modality's units audible."""

    REVISION: ClassVar[int] = 1
    vocoder: UnitVocoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitVocabulary:
    """Fit a stream's vocabulary (SentencePiece, k-means) on training ids only."""

    REVISION: ClassVar[int] = 1
    stream: Stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Turn a prepared corpus, or a task's items, into the token store of one stream."""

    REVISION: ClassVar[int] = 2  # ids in one file of a split
    stream: Stream


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train one language model; ``checkpoints`` are counts of trained tokens.

    A trunk leaves its state at each of ``forks``, and a branch, whose input it is, goes on from
    the one at ``forked_at``.
    """

    REVISION: ClassVar[int] = 1
    scale: Scale
    optimizer: Optimizer
    batching: Batching
    total_tokens: int
    checkpoints: tuple[int, ...]
    seed: int
    precision: str
    ending: Ending
    forks: tuple[int, ...] = ()
    forked_at: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportModel:
    """Take a model made elsewhere into the store; ``digest`` pins the folder at ``place``."""

    REVISION: ClassVar[int] = 1
    place: str
    digest: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score one task's items at one checkpoint, at every layer; or continue its prompts."""

    REVISION: ClassVar[int] = 1
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Tables, figures and one HTML page, from evaluations only.

    ``tokens_per_second`` are the modalities' nominal rates, by which budgets in hours became
    checkpoints.
    """

    REVISION: ClassVar[int] = 3
    study: str
    question: str
    notice: str
    contrasts: tuple[Contrast, ...]
    tokens_per_second: tuple[tuple[str, float], ...]


Recipe = (
    PrepareCorpus
    | PrepareItems
    | PreparePrompts
    | FitVocabulary
    | FitVocoder
    | Tokenize
    | Train
    | ImportModel
    | Evaluate
    | Report
)
