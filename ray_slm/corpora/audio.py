"""Where an utterance's audio lies, and reading it: float32 or int16 samples at 16 kHz.

A path is relative to the corpus folder, or ``PLACE:path`` relative to external data, which are
then never copied.  Every reading is checked: FLAC's frame sums make a damaged byte an error.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Utterance

if TYPE_CHECKING:
    import soundfile

NO_PLACES: Mapping[str, Path] = MappingProxyType({})


def external(place: str, path: str) -> str:
    """How an utterance spells audio at ``path`` relative to a place."""
    return f"{place}:{path}"


def audio_path(folder: Path, audio: str, places: Mapping[str, Path]) -> Path:
    """The file that an utterance's ``audio`` means; raises ValueError when its place is not set."""
    place, separator, path = audio.partition(":")
    if not separator:
        return folder / audio
    if place not in places:
        raise ValueError(
            f"the audio {path!r} lies at the place {place!r}, which is not set; pass "
            f"`--place {place}=FOLDER`"
        )
    return Path(places[place]) / path


def read_audio(
    folder: Path, utterance: Utterance, places: Mapping[str, Path] = NO_PLACES
) -> np.ndarray:
    """The waveform of one utterance, float32 (S,) in [-1, 1] at 16 kHz.

    Raises ValueError naming the file and id when the audio is damaged, cut short or at another
    rate, or its place is not set.
    """
    import soundfile

    path = audio_path(folder, utterance.audio, places)
    try:
        with soundfile.SoundFile(path) as file:
            samples = read_span(file, utterance.start, utterance.num_samples, "float32")
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path}: utterance {utterance.id} cannot be read: {error.error_string}; fetch the "
            "file again"
        ) from error
    if rate != SAMPLE_RATE_HZ or samples.ndim != 1 or len(samples) != utterance.num_samples:
        raise ValueError(
            f"{path}: utterance {utterance.id} needs {utterance.num_samples} mono samples at "
            f"{SAMPLE_RATE_HZ} Hz from sample {utterance.start}, got {samples.shape} at {rate} Hz; "
            "prepare the corpus again"
        )
    return np.ascontiguousarray(samples)


def read_span(file: "soundfile.SoundFile", start: int, num_samples: int, dtype: str) -> np.ndarray:
    """Samples [start, start + num_samples) of an open file, fewer where it ends."""
    file.seek(start)
    found: np.ndarray = file.read(num_samples, dtype=dtype)
    return found
