"""The chain that hears and judges continuations, loaded once per process.

Rows of its figures are the same for what a model said and for what really followed.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ray_slm.continuation.judge import Judged, TextJudge, open_judge
from ray_slm.continuation.transcribe import Whisper, open_whisper, plain_words
from ray_slm.stages.site import Site
from ray_slm.tasks.continuation import Continuation, Judge, Transcriber

REPETITIVE = 2.4  # zlib's ratio beyond which openai-whisper takes a transcript for a loop


class Chain(NamedTuple):
    """The recognizer and the judge."""

    whisper: Whisper
    judge: TextJudge


def open_chain(task: Continuation, site: Site) -> Chain:
    """Both, verified by digest; the second call of a process costs nothing."""
    return _open(task.transcriber, task.judge, tuple(sorted(site.places.items())))


@cache
def _open(transcriber: Transcriber, judge: Judge, places: tuple[tuple[str, Path], ...]) -> Chain:
    found = dict(places)
    return Chain(open_whisper(transcriber, found), open_judge(judge, found))


def hear(
    chain: Chain, prompts: Sequence[str], waveforms: Sequence[np.ndarray]
) -> list[dict[str, object]]:
    """One row per waveform: its transcript, and how the judge finds it after its prompt."""
    transcripts = chain.whisper.transcribe(waveforms)
    return [
        {"transcript": transcript, "repetitive": repetitive(transcript), **figures}
        for transcript, figures in zip(
            transcripts, judged(chain, prompts, transcripts), strict=True
        )
    ]


def judged(
    chain: Chain, prompts: Sequence[str], texts: Sequence[str]
) -> list[dict[str, float | int]]:
    """The judge's figures of each text after its prompt, both in lower case without marks."""
    found: list[Judged] = chain.judge.judge(
        [*map(plain_words, prompts)], [*map(plain_words, texts)]
    )
    return [one._asdict() for one in found]


def repetitive(text: str) -> bool:
    """Whether a transcript is a loop, by Whisper's own criterion."""
    from whisper.utils import compression_ratio

    return bool(text) and compression_ratio(text) > REPETITIVE
