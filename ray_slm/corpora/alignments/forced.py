"""Forced alignment with pocketsphinx, for corpora that come without alignments."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from ray_slm.corpora.aligner import ALIGNED_BY, Aligner, letter_to_sound
from ray_slm.corpora.alignment import AlignmentError
from ray_slm.corpora.alignments.source import TimedPhones
from ray_slm.corpora.assets import locate
from ray_slm.corpora.lexicon import read_cmudict
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForcedAlignment:
    """pocketsphinx with stress from CMUdict; ``seed`` is of the dither.

    ``letter_to_sound`` lets flite pronounce words that no dictionary has; without it, utterances
    with such words go into quarantine.
    """

    REVISION: ClassVar[int] = 1

    letter_to_sound: bool = True
    seed: int = 0

    @property
    def aligned_by(self) -> str:
        """Who aligns, as utterances record it."""
        return ALIGNED_BY

    def load(self, places: Mapping[str, Path]) -> Aligner:
        """The aligner, one per process; raises ValueError when something is not installed."""
        return _aligner(locate(places, "cmudict"), self.letter_to_sound)

    def timed(
        self, aligner: Aligner, utterance_id: str, pcm_S: np.ndarray, text: str
    ) -> TimedPhones:
        """The phones of int16 audio (S,) that says ``text``.

        Raises AlignmentError: ALIGN_FAILED, and as ``Aligner.align`` does.
        """
        words = f"dither {self.seed} {utterance_id}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
        found = aligner.align(pcm_S, text, seed)
        if found is None:
            seconds = len(pcm_S) / SAMPLE_RATE_HZ
            detail = f"no alignment of {len(text.split())} words with {seconds:.3f} s of audio"
            raise AlignmentError("ALIGN_FAILED", detail)
        phones, starts, ends = zip(*found, strict=True)
        return TimedPhones(list(phones), list(starts), list(ends), None)


@functools.cache
def _aligner(cmudict: Path, with_letter_to_sound: bool) -> Aligner:
    """One per process.  Whether flite is there must not decide what a study's data are."""
    pronounce = letter_to_sound() if with_letter_to_sound else None
    if with_letter_to_sound and pronounce is None:
        raise ValueError(
            "letter_to_sound=True needs flite, which is not installed; run `apt-get install "
            "flite`, or set letter_to_sound=False: words in no dictionary are then left out"
        )
    return Aligner(read_cmudict(cmudict), pronounce)
