"""A modality: which stream of token ids a model reads for an utterance.

One file per modality holds one constant ``MODALITY``; its ``stream`` does the work.  A stream is
a frozen value (it is identity); ``load`` turns it into something that tokenizes.  Utterances come
as tables of ``corpora.utterance.SCHEMA``, so that text and phones need no Python per row.
Legend: B utterances, T tokens of all of them.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from ray_slm.corpora.utterance import SCHEMA, Quarantined, Utterance

Waveform = Callable[[Utterance], np.ndarray]  # utterance -> float32 (S,) at 16 kHz
STAGE = "tokenize"


class Form(enum.Enum):
    """The form of an utterance that a stream reads."""

    TEXT = "text"
    PHONES = "phones"
    AUDIO = "audio"
    UNITS = "units"  # of another stream of speech, tokenized before

    @property
    def columns(self) -> tuple[str, ...]:
        """What tokenizing reads of a corpus: neither text nor phones touch audio."""
        match self:
            case Form.TEXT:
                return ("id", "split", "num_samples", "transcript")
            case Form.PHONES:
                return ("id", "split", "num_samples", "phones", "ends")
            case Form.UNITS:
                return ("id", "split", "num_samples", "units")
        return tuple(name for name in SCHEMA.names if name not in ("phones", "ends"))


class Tokens(NamedTuple):
    """uint16 ids (T,) of all utterances in order, tokens of each (B,), and who has none and why.

    A refused utterance, by its number, has length 0; every other one has a token or more.
    ``frames_T`` (uint16) says for how many frames a token stands, where that varies with audio.
    """

    flat_T: np.ndarray
    lengths_B: np.ndarray
    refused: Mapping[int, Quarantined]
    frames_T: np.ndarray | None = None


class Tokenizer(Protocol):
    """A loaded stream.  ``vocab_size`` excludes the specials (BOS, EOS, PAD follow it)."""

    vocab_size: int

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """The tokens of a table's utterances.  Those of one never depend on its neighbors."""
        ...


class Stream(Protocol):
    """What a modality file defines: a frozen dataclass with these members."""

    @property
    def form(self) -> Form:
        """What it reads."""
        ...

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> Tokenizer:
        """The tokenizer; ``vocabulary`` is the folder ``fit`` wrote, None where none is fitted."""
        ...


@runtime_checkable
class FittedStream(Stream, Protocol):
    """A stream whose vocabulary is fitted on the training split first."""

    def fit(
        self,
        tables: Iterable[pa.Table],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Write the vocabulary's files into ``folder``; return a JSON-ready summary of quality."""
        ...


@runtime_checkable
class DerivedStream(Stream, Protocol):
    """A stream that reads the units of another one, so that audio is encoded once for both.

    ``source_name`` is the modality of ``source``: its stages are shared, or made where a study
    lacks that modality.
    """

    source_name: str

    @property
    def source(self) -> Stream:
        """The stream of units."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Modality:
    """A named stream and its nominal token rate, which turns hours into checkpoint positions."""

    name: str
    stream: Stream
    nominal_tokens_per_second: float


def refuse(utterance_id: str, reason: str, detail: str) -> Quarantined:
    """Why an utterance has no tokens: ``reason`` is a stable code in capitals."""
    return Quarantined(id=utterance_id, stage=STAGE, reason=reason, detail=detail)
