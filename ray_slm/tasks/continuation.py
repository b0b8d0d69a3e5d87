"""Continuation: what a model says after the first seconds of a held-out utterance.

After the paper (arXiv 2412.17048, section 4): prompts are continued, the continuations are heard
by a speech recognizer and judged by a text model's perplexity.  Not a task of pairs: there is
nothing to prefer.  This module holds the values and chooses the prompts.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from ray_slm.corpora.lexicon import SILENCE, Pronunciations
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Utterance
from ray_slm.corpora.words import Word, aligned_words

HELD_OUT_SPLIT = "dev"
TOLERANCE = 0.25  # a prompt may be shorter or longer than asked for by this share
LEAST_REST_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcriber:
    """openai-whisper with the weights at the place ``checkpoint``, or the asset of that name."""

    REVISION: ClassVar[int] = 1
    checkpoint: str = "whisper-tiny-en"
    sha256: str = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """A causal language model: the Hugging Face folder at the place ``name``, or the asset.

    ``sha256`` is that of the asset's file, or of the folder's weights (see ``open_judge``).
    """

    REVISION: ClassVar[int] = 1
    name: str = "smollm2-135m-instruct"
    sha256: str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitVocoder:
    """A small decoder from units to log-mel power, fitted per modality, and Griffin-Lim.

    It learns the voice that holds most of the training split, from ``sample_minutes`` of it.
    """

    REVISION: ClassVar[int] = 1
    width: int = 256
    layers: int = 4
    kernel: int = 5
    steps: int = 1500
    segments_per_step: int = 16
    segment_units: int = 64
    peak_lr: float = 2e-3
    sample_minutes: float = 30.0
    phase_rounds: int = 60
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedVocoder:
    """A vocoder of the user's: a ``torch.export`` program at ``place``, pinned by digest.

    It maps int64 units (1, U) to a waveform (1, S) at 16 kHz, U being free.
    """

    REVISION: ClassVar[int] = 1
    place: str
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuation:
    """Prompts x samples, and the chain that judges them.  The defaults are the paper's numbers.

    Sampling stops at EOS or after ``max_seconds`` worth of tokens.  ``voice`` is the flite voice
    that speaks text and phones; only kal16 obeys given durations.
    """

    REVISION: ClassVar[int] = 1
    name: str = "continuation"
    title: str = "Continuation"
    num_prompts: int = 20
    num_samples: int = 10
    prompt_seconds: float = 3.0
    max_seconds: float = 20.0
    top_p: float = 0.9
    temperature: float = 1.0
    seed: int = 0
    voice: str = "kal16"
    transcriber: Transcriber = Transcriber()
    judge: Judge = Judge()
    vocoder: UnitVocoder | ExportedVocoder = UnitVocoder()

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        if min(self.num_prompts, self.num_samples) < 1:
            raise ValueError(
                f"{self.name}: num_prompts={self.num_prompts} and num_samples="
                f"{self.num_samples} must be at least 1"
            )
        if not (0 < self.top_p <= 1 and self.temperature > 0):
            raise ValueError(
                f"{self.name}: top_p={self.top_p} must be in (0, 1] and "
                f"temperature={self.temperature} above 0"
            )
        if not (self.prompt_seconds > 0 and 0 < self.max_seconds <= 30):
            raise ValueError(
                f"{self.name}: prompt_seconds={self.prompt_seconds} must be above 0, and "
                f"max_seconds={self.max_seconds} at most the 30 s that Whisper hears at once"
            )


class Prompt(NamedTuple):
    """An utterance cut between two words: what the model is given, and what really followed."""

    id: str
    prompt: Utterance
    rest: Utterance


def choose_prompts(
    utterances: Iterable[Utterance], pronunciations: Pronunciations, task: Continuation
) -> list[Prompt]:
    """The prompts, by hash of the utterance's id.

    The cut lies where two words follow each other without a mark or a pause, so that text,
    phones and audio are cut at one place.  Raises ValueError when there are too few.
    """
    found: list[Prompt] = []
    ordered = sorted(utterances, key=lambda u: _hash(u.id, task.seed))
    for utterance in ordered:
        one = _cut(utterance, pronunciations, task)
        found += [] if one is None else [one]
        if len(found) == task.num_prompts:
            return sorted(found)
    raise ValueError(
        f"{task.name}: of {len(ordered)} held-out utterances {len(found)} can be cut after about "
        f"{task.prompt_seconds} s, but {task.num_prompts} prompts are asked for; lower num_prompts "
        "or prompt_seconds, or hold out more audio"
    )


def sample_seed(task: Continuation, prompt_id: str, sample: int) -> int:
    """The seed of one sample, the same for every model: by hash."""
    return _hash(f"{prompt_id} sample {sample}", task.seed)


def _cut(utterance: Utterance, pronunciations: Pronunciations, task: Continuation) -> Prompt | None:
    if utterance.duration < task.prompt_seconds * (1 - TOLERANCE) + LEAST_REST_SECONDS:
        return None
    words = aligned_words(utterance, pronunciations) or []
    inner = [word for word in words[:-1] if _goes_on(utterance, word)]

    def miss(word: Word) -> float:
        seconds = utterance.ends[word.phones_end - 1] / SAMPLE_RATE_HZ
        return abs(seconds - task.prompt_seconds)

    best = min(inner, key=miss, default=None)
    if best is None or miss(best) > TOLERANCE * task.prompt_seconds:
        return None
    prompt, rest = _halves(utterance, best)
    if not LEAST_REST_SECONDS <= rest.duration <= task.max_seconds:
        return None
    return Prompt(utterance.id, prompt, rest)


def _goes_on(utterance: Utterance, word: Word) -> bool:
    """Whether the next word follows after a mere space, without a pause."""
    after = utterance.transcript[word.letters_end : word.letters_end + 2]
    silent = utterance.phones[word.phones_end] == SILENCE
    return len(after) == 2 and after[0] == " " and after[1].isalpha() and not silent


def _halves(utterance: Utterance, word: Word) -> tuple[Utterance, Utterance]:
    at, cut = word.phones_end, utterance.ends[word.phones_end - 1]
    prompt = dataclasses.replace(
        utterance,
        id=f"{utterance.id}.prompt",
        transcript=utterance.transcript[: word.letters_end],
        num_samples=cut,
        phones=utterance.phones[:at],
        ends=utterance.ends[:at],
    )
    rest = dataclasses.replace(
        utterance,
        id=f"{utterance.id}.rest",
        transcript=utterance.transcript[word.letters_end + 1 :],
        start=utterance.start + cut,
        num_samples=utterance.num_samples - cut,
        phones=utterance.phones[at:],
        ends=tuple(end - cut for end in utterance.ends[at:]),
    )
    return prompt, rest


def _hash(name: str, seed: int) -> int:
    digest = hashlib.sha256(f"continuation {seed} of {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
