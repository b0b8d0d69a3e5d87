"""A modality: which stream of token ids a model reads for an utterance.

One file per modality holds one constant ``MODALITY``; its ``stream`` does the work.  A stream is
a frozen value (it is identity); ``load`` turns it into something that tokenizes.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ray_slm.corpora.utterance import Quarantined, Utterance

Waveform = Callable[[Utterance], np.ndarray]  # utterance -> float32 (S,) at 16 kHz


class Form(enum.Enum):
    """The form of an utterance that a stream reads."""

    TEXT = "text"
    PHONES = "phones"
    AUDIO = "audio"


class Tokenizer(Protocol):
    """A loaded stream.  ``vocab_size`` excludes the specials (BOS, EOS, PAD follow it)."""

    vocab_size: int

    def tokenize(
        self, utterances: Sequence[Utterance], waveform: Waveform
    ) -> list[np.ndarray | Quarantined]:
        """uint16 ids (T,) per utterance, or why it has none.  Never depends on the neighbors."""
        ...


class Stream(Protocol):
    """What a modality file defines: a frozen dataclass with these members."""

    @property
    def form(self) -> Form:
        """What it reads."""
        ...

    @property
    def fits(self) -> bool:
        """Whether a vocabulary must be fitted on the training split first."""
        ...

    def fit(
        self,
        utterances: Iterable[Utterance],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Write the vocabulary's files into ``folder``; return a JSON-ready summary of quality."""
        ...

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> Tokenizer:
        """The tokenizer; ``vocabulary`` is the folder ``fit`` wrote, None if ``fits`` is False."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Modality:
    """A named stream and its nominal token rate, which turns hours into checkpoint positions."""

    name: str
    stream: Stream
    nominal_tokens_per_second: float
