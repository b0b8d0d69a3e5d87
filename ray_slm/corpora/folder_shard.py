"""Clips of a user's own directory, one by one, into the audio and the table of one shard.

What cannot be used is left out with its reason; nothing about a clip depends on its neighbors.
Legend: S samples at 16 kHz.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from ray_slm.corpora.aligner import ALIGNED_BY, Aligner
from ray_slm.corpora.alignment import Alignment, AlignmentError, validated
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.folder_survey import Candidate, content_digest
from ray_slm.corpora.shard import ShardInTheMaking
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


class ClipsInTheMaking:
    """Turns clips into utterances; ``made`` is what came of them."""

    def __init__(
        self, root: Path, forced: ForcedAlignment, aligner: Aligner, *, max_seconds: float
    ) -> None:
        self._root, self._forced, self._aligner = root, forced, aligner
        self._max_seconds = max_seconds
        self.made = ShardInTheMaking()

    def prepare(self, candidates: Iterable[Candidate], wave_path: Path, shard: int) -> None:
        """Write the clips one after the other into one wave file."""
        import soundfile

        start = 0
        self._aligner.counts.clear()
        with soundfile.SoundFile(wave_path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as wave:
            for candidate in candidates:
                try:
                    text, pcm_S = self._read(candidate)
                    alignment = self._align(candidate, text, pcm_S)
                except (BadItem, AlignmentError) as error:
                    self.made.quarantined.append(_quarantine(candidate, error))
                    continue
                _refuse_overflow(start + len(pcm_S))
                wave.write(pcm_S)
                span = (audio_name(shard), start, len(pcm_S))
                self.made.utterances.append(_utterance(candidate, text, span, alignment))
                start += len(pcm_S)
        self.made.counts.update(self._aligner.counts)

    def _read(self, candidate: Candidate) -> tuple[str, np.ndarray]:
        """The transcript and int16 audio (S,) of a candidate; raises BadItem."""
        if not candidate.audio:
            raise BadItem("AUDIO_MISSING", "there is no .wav or .flac file of this name")
        if candidate.raw is None:
            raise BadItem("TEXT_MISSING", "there is no .txt file, or line of metadata.csv, for it")
        text, num_replaced = transcript(candidate.raw)
        path = self._root / candidate.audio
        if content_digest(path) != candidate.sha256:
            raise ValueError(f"{path} changed while the corpus was prepared; run again")
        samples_S = decode(path, self._max_seconds)
        if candidate.duplicate_of:
            detail = f"{candidate.id} has the same audio as {candidate.duplicate_of}"
            raise BadItem("DUPLICATE_AUDIO", detail)
        self.made.counts["symbols replaced by a space"] += num_replaced
        return text, np.clip(np.round(samples_S * 32768), -32768, 32767).astype(np.int16)

    def _align(self, candidate: Candidate, text: str, pcm_S: np.ndarray) -> Alignment:
        found = self._forced.timed(self._aligner, candidate.id, pcm_S, text)
        alignment = validated(found.symbols, found.starts, found.ends, len(pcm_S))
        self.made.counts["phone boundaries mended"] += alignment.num_trimmed
        return alignment
