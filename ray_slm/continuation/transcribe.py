"""What Whisper hears: openai-whisper's own model and decoding, greedily and in English.

Legend: S samples at 16 kHz, M mel bands, F mel frames of 10 ms.
"""

import contextlib
import functools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ray_slm.corpora.assets import locate
from ray_slm.tasks.continuation import Transcriber
from ray_slm.units.ct2 import load_whisper
from ray_slm.units.extractor import verify_digest

CLIPS_AT_ONCE = 8
# As whisper.transcribe: a clip that is likely no speech, and unlikely what was heard, is silence.
NO_SPEECH, UNLIKELY = 0.6, -1.0


class Whisper:
    """A loaded recognizer."""

    def __init__(self, model: Any, name: str) -> None:
        from whisper.tokenizer import get_tokenizer

        self._model, self.name = model, name
        with _forgiving():
            get_tokenizer(model.is_multilingual, num_languages=model.num_languages)  # kept

    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """What is said in each float32 (S,), of at most 30 s; "" for silence and no samples."""
        import torch
        from whisper.audio import log_mel_spectrogram, pad_or_trim
        from whisper.decoding import DecodingOptions, decode

        options = DecodingOptions(language="en", without_timestamps=True, fp16=False)
        texts = [""] * len(waveforms)
        audible = [i for i, waveform_S in enumerate(waveforms) if np.any(waveform_S)]
        for start in range(0, len(audible), CLIPS_AT_ONCE):
            taken = audible[start : start + CLIPS_AT_ONCE]
            clips = [pad_or_trim(torch.from_numpy(waveforms[i])) for i in taken]
            mel_BMF = torch.stack([log_mel_spectrogram(c, self._model.dims.n_mels) for c in clips])
            with torch.inference_mode():
                heard = decode(self._model, mel_BMF.to(self._model.device), options)
            for i, one in zip(taken, heard, strict=True):
                silent = one.no_speech_prob > NO_SPEECH and one.avg_logprob < UNLIKELY
                texts[i] = "" if silent else one.text.strip()
        return texts


def open_whisper(recipe: Transcriber, places: Mapping[str, Path]) -> Whisper:
    """The recognizer: the user's openai-whisper checkpoint (.pt), else the packaged weights.

    Raises ValueError for a missing or a different file.
    """
    path = places.get(recipe.checkpoint) or locate(places, recipe.checkpoint)
    verify_digest(path, recipe.sha256, recipe.checkpoint)
    if path.suffix == ".bin":
        return Whisper(load_whisper(path), recipe.checkpoint)
    import whisper

    return Whisper(whisper.load_model(str(path), device="cpu").float().eval(), recipe.checkpoint)


def plain_words(text: str) -> str:
    """Lower case, letters, digits and apostrophes alone: the same for every modality's text."""
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("\u2019", "'")).split())


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Substitutions, insertions and deletions, and the number of words said.

    Both sides pass through Whisper's English normalizer (contractions, spelling, numbers).
    """
    normalize = _normalizer()
    reference, found = normalize(said).split(), normalize(heard).split()
    costs = np.arange(len(found) + 1)
    for number, word in enumerate(reference, start=1):
        kept = costs[:-1] + np.array([word != other for other in found], dtype=np.int64)
        best = np.minimum(kept, costs[1:] + 1) if found else kept
        row = [number]
        for cost in best:
            row.append(min(int(cost), row[-1] + 1))
        costs = np.array(row)
    return int(costs[-1]), len(reference)


@functools.cache
def _normalizer() -> Any:
    from whisper.normalizers import EnglishTextNormalizer

    with _forgiving():
        return EnglishTextNormalizer()


@contextlib.contextmanager
def _forgiving() -> Iterator[None]:
    """Without complaint about the word lists that whisper leaves open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
