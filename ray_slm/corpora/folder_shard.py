"""Clips of a user's own directory, one by one, into the audio and the table of one shard.

What cannot be used is left out with its reason; nothing about a clip depends on its neighbors.
Legend: S samples at 16 kHz.
"""

import collections
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ray_slm.corpora.aligner import ALIGNED_BY, Aligner
from ray_slm.corpora.alignment import Alignment, AlignmentError, validated
from ray_slm.corpora.folder_survey import Candidate
from ray_slm.corpora.synthesis import audio_name
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Quarantined, Utterance
from ray_slm.corpora.validate import BadItem, decode, transcript

_LARGEST_WAVE = 2**31 - 4096  # 16-bit samples; the format ends at 4 GB


def _refuse_overflow(num_samples: int) -> None:
    if num_samples >= _LARGEST_WAVE:
        raise ValueError(
            f"a shard of {num_samples} samples does not fit into one wave file; raise num_shards"
        )


def _utterance(
    candidate: Candidate, text: str, span: tuple[str, int, int], alignment: Alignment
) -> Utterance:
    audio, start, num_samples = span
    parts = PurePosixPath(candidate.audio).parts[:-1]
    return Utterance(
        id=candidate.id,
        split=candidate.split,
        speaker=candidate.speaker,
        book=".".join(parts),
        transcript=text,
        audio=audio,
        start=start,
        num_samples=num_samples,
        phones=alignment.phones,
        ends=alignment.ends,
        aligned_by=ALIGNED_BY,
    )


def _quarantine(candidate: Candidate, error: BadItem | AlignmentError) -> Quarantined:
    stage = "align" if isinstance(error, AlignmentError) else "ingest"
    return Quarantined(
        id=candidate.id,
        stage=stage,
        reason=error.reason,
        detail=error.detail,
        path=candidate.audio,
    )


class ShardInTheMaking:
    """One shard in the making: what came out, what was left out, and what was mended."""

    def __init__(self, root: Path, aligner: Aligner, *, max_seconds: float, seed: int) -> None:
        self._root, self._aligner = root, aligner
        self._max_seconds, self._seed = max_seconds, seed
        self.utterances: list[Utterance] = []
        self.quarantined: list[Quarantined] = []
        self.counts: collections.Counter[str] = collections.Counter()

    def prepare(self, candidates: Sequence[Candidate], wave_path: Path, shard: int) -> None:
        """Write the clips one after the other into one wave file."""
        import soundfile

        start = 0
        self._aligner.counts.clear()
        wave_path.parent.mkdir(parents=True)
        with soundfile.SoundFile(wave_path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as wave:
            for candidate in candidates:
                try:
                    text, pcm_S = self._read(candidate)
                    alignment = self._align(candidate, text, pcm_S)
                except (BadItem, AlignmentError) as error:
                    self.quarantined.append(_quarantine(candidate, error))
                    continue
                _refuse_overflow(start + len(pcm_S))
                wave.write(pcm_S)
                span = (audio_name(shard), start, len(pcm_S))
                self.utterances.append(_utterance(candidate, text, span, alignment))
                start += len(pcm_S)
        self.counts.update(self._aligner.counts)

    def _read(self, candidate: Candidate) -> tuple[str, np.ndarray]:
        """The transcript and int16 audio (S,) of a candidate; raises BadItem."""
        if not candidate.audio:
            raise BadItem("AUDIO_MISSING", "there is no .wav or .flac file of this name")
        if candidate.raw is None:
            raise BadItem("TEXT_MISSING", "there is no .txt file, or line of metadata.csv, for it")
        text, num_replaced = transcript(candidate.raw)
        samples_S = decode(self._root / candidate.audio, self._max_seconds)
        if candidate.duplicate_of:
            detail = f"{candidate.id} has the same audio as {candidate.duplicate_of}"
            raise BadItem("DUPLICATE_AUDIO", detail)
        self.counts["symbols replaced by a space"] += num_replaced
        return text, np.clip(np.round(samples_S * 32768), -32768, 32767).astype(np.int16)

    def _align(self, candidate: Candidate, text: str, pcm_S: np.ndarray) -> Alignment:
        words = f"dither {self._seed} {candidate.id}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
        found = self._aligner.align(pcm_S, text, seed)
        if found is None:
            seconds = len(pcm_S) / SAMPLE_RATE_HZ
            detail = f"no alignment of {len(text.split())} words with {seconds:.3f} s of audio"
            raise AlignmentError("ALIGN_FAILED", detail)
        phones, starts, ends = zip(*found, strict=True)
        alignment = validated(phones, starts, ends, len(pcm_S))
        self.counts["phone boundaries mended"] += alignment.num_trimmed
        return alignment
