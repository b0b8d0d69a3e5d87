"""Reading and checking waveforms: one place where a file becomes float32 samples at 16 kHz."""

from pathlib import Path

import numpy as np
import soundfile

from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Utterance


def read_audio(folder: Path, utterance: Utterance) -> np.ndarray:
    """The waveform of one utterance, float32 (S,) in [-1, 1] at 16 kHz.

    Raises ValueError naming the file and id when the audio is cut short or at another rate.
    """
    path = folder / utterance.audio
    samples, rate = soundfile.read(
        path, start=utterance.start, frames=utterance.num_samples, dtype="float32"
    )
    if rate != SAMPLE_RATE_HZ or samples.ndim != 1 or len(samples) != utterance.num_samples:
        raise ValueError(
            f"{path}: utterance {utterance.id} needs {utterance.num_samples} mono samples at "
            f"{SAMPLE_RATE_HZ} Hz from sample {utterance.start}, got {samples.shape} at {rate} Hz; "
            "prepare the corpus again"
        )
    return np.ascontiguousarray(samples)
