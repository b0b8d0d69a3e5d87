"""Units of any modality made audible: text and phones by flite, units by a vocoder.

Phones at 50 Hz keep the durations that the model gave them.  The voice is kal16 for all of them:
the one flite voice that obeys durations, and from phones the best understood.
Legend: T units, S samples at 16 kHz.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ray_slm.continuation.lasting import spread_out
from ray_slm.continuation.vocoder import Vocoder
from ray_slm.corpora.alignment import FRAME_SAMPLES
from ray_slm.corpora.flite_process import flite_process
from ray_slm.corpora.synthesis import Unspeakable
from ray_slm.corpora.text import clean_text
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ
from ray_slm.modalities.derived_units import Decoded

MOST_SAMPLES = 480_000  # 30 s, what the recognizer hears at once
MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE"}
SMALLNESS = 0.8  # of 0 to 1: about 4 kB a second


class Said(NamedTuple):
    """A continuation as it can be heard; ``written`` where the modality writes."""

    waveform_S: np.ndarray  # float32
    written: str = ""


Say = Callable[[np.ndarray], Said]  # units (T,) -> what is heard


def say_text(decode: Callable[[np.ndarray], str], voice: str) -> Say:
    """Reads the text of the units aloud."""

    def say(units_T: np.ndarray) -> Said:
        text = clean_text(decode(units_T)) if len(units_T) else ""
        if not any(symbol.isalnum() for symbol in text):
            return Said(_nothing(), text)
        try:
            return Said(_floats(flite_process((voice,)).speak(text, voice).pcm), text)
        except Unspeakable:
            return Said(_nothing(), text)

    return say


def say_phones(decode: Callable[[np.ndarray], Sequence[str]], voice: str, *, at_50_hz: bool) -> Say:
    """Speaks phones; where each unit is a frame of 20 ms, as long as the units say."""

    def say(units_T: np.ndarray) -> Said:
        phones = decode(units_T) if len(units_T) else ()
        if not phones:
            return Said(_nothing())
        ends = None
        if at_50_hz:
            phones, ends = runs(phones)
        try:
            return Said(_floats(flite_process((voice,)).speak_phones(phones, voice, ends)))
        except Unspeakable:
            return Said(_nothing())

    return say


def say_units(vocoder: Vocoder) -> Say:
    """Speaks units at 50 Hz."""
    return lambda units_T: Said(vocoder.speak(units_T)[:MOST_SAMPLES])


def say_runs(
    vocoder: Vocoder, decode: Callable[[np.ndarray], Decoded], frames_V: np.ndarray
) -> Say:
    """Speaks runs of units, each token for as long as ``frames_V`` says."""
    say = say_units(vocoder)

    def say_spread(ids_T: np.ndarray) -> Said:
        units_R, runs_T = decode(ids_T)
        return say(spread_out(units_R, runs_T, frames_V[ids_T]))

    return say_spread


def runs(phones_T: Sequence[str]) -> tuple[list[str], list[int]]:
    """Phones of frames as intervals: each run's phone and its end in samples."""
    lengths = [(phone, len([*run])) for phone, run in itertools.groupby(phones_T)]
    ends = itertools.accumulate(length for _, length in lengths)
    return [phone for phone, _ in lengths], [FRAME_SAMPLES * end for end in ends]


def write_mp3(path: Path, waveform_S: np.ndarray) -> None:
    """Write a small file that every browser plays; equal samples give equal bytes."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # a suffix of a draft's name says nothing about the format
        soundfile.write(file, waveform_S, SAMPLE_RATE_HZ, compression_level=SMALLNESS, **MP3)


def _floats(pcm_S: np.ndarray) -> np.ndarray:
    return pcm_S[:MOST_SAMPLES].astype(np.float32) / 32768


def _nothing() -> np.ndarray:
    return np.zeros(0, dtype=np.float32)
