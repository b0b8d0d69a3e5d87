"""Cuts of Libriheavy, one by one, into the table of one shard.

What cannot be used is left out with its reason; nothing about a cut depends on its neighbors.
Legend: S samples at 16 kHz.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ray_slm.corpora.alignment import (
    FRAME_SAMPLES,
    SNIPPED_SAMPLES,
    Alignment,
    AlignmentError,
    num_vanished,
    phones_at_50_hz,
    validated,
)
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.alignments.source import TimedPhones
from ray_slm.corpora.audio import external, read_span
from ray_slm.corpora.libriheavy_sources import alignments_root, audio_root, manifest_name
from ray_slm.corpora.libriheavy_survey import OfManifest, Read
from ray_slm.corpora.manifest import Cut
from ray_slm.corpora.shard import ShardInTheMaking
from ray_slm.corpora.text import clean_text, normalize_text, num_replaced
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Quarantined, Utterance
from ray_slm.corpora.validate import MIN_SAMPLES, BadItem, refuse_unusable

if TYPE_CHECKING:
    from ray_slm.corpora.libriheavy import LibriheavyCorpus


class Found(NamedTuple):
    """An alignment that was made or found, and by whom it was."""

    phones: TimedPhones
    aligned_by: str


class CutsInTheMaking:
    """Turns the cuts of one shard into utterances; ``made`` is what came of them."""

    def __init__(self, corpus: "LibriheavyCorpus", places: Mapping[str, Path], read: Read) -> None:
        self._corpus, self._places, self._read = corpus, places, read
        self._root = audio_root(corpus, places)
        alignment = corpus.alignment
        self._reader = (
            None
            if isinstance(alignment, ForcedAlignment)
            else alignment.load(alignments_root(places))
        )
        self.made = ShardInTheMaking()
        self.made.counts["alignments of no cut"] = read.num_unclaimed

    def prepare(self, cuts: Sequence[OfManifest]) -> None:
        """Every cut, in the order in which the audio lies on disk."""
        for subset, cut in sorted(cuts, key=lambda each: (each.cut.audio, each.cut.start)):
            try:
                self.made.utterances.append(self._utterance(subset, cut))
            except (BadItem, AlignmentError) as error:
                self.made.quarantined.append(_quarantine(subset, cut, error))

    def _utterance(self, subset: str, cut: Cut) -> Utterance:
        if cut.reason:
            raise BadItem(cut.reason, cut.detail)
        text = self._text(cut)
        pcm_S = self._audio(cut)
        found = self._aligned(cut, text, pcm_S)
        alignment = self._checked(found.phones, len(pcm_S))
        self.made.counts["samples that cuts overran"] += cut.trimmed
        return Utterance(
            id=cut.id,
            split=self._corpus.splits[subset],
            speaker=cut.speaker,
            book=cut.book,
            transcript=text,
            audio=external(self._corpus.audio_place, cut.audio),
            start=cut.start,
            num_samples=len(pcm_S),
            phones=alignment.phones,
            ends=alignment.ends,
            aligned_by=found.aligned_by,
        )

    def _text(self, cut: Cut) -> str:
        """The text in our symbols; what has none is replaced by a space and counted."""
        cased, written = self._corpus.normalizer == "cased", unicodedata.normalize("NFC", cut.text)
        text = clean_text(written) if cased else normalize_text(written)
        if not any(symbol.isalnum() for symbol in text):
            raise BadItem("TEXT_EMPTY", f"no letter or digit in {written.strip()[:40]!a}")
        self.made.counts["symbols replaced by a space"] += num_replaced(written) if cased else 0
        return text

    def _audio(self, cut: Cut) -> np.ndarray:
        """int16 (S,): the cut's samples, each frame of a FLAC file checked by its sum."""
        import soundfile

        seconds = cut.num_samples / SAMPLE_RATE_HZ
        if seconds > self._corpus.max_seconds:
            raise BadItem("AUDIO_TOO_LONG", f"{seconds:.3f} s of {self._corpus.max_seconds:.3f} s")
        if cut.num_samples < MIN_SAMPLES:
            raise BadItem("AUDIO_EMPTY", f"{cut.num_samples} samples: less than 25 ms")
        try:
            with soundfile.SoundFile(self._path(cut.audio)) as file:
                if file.channels != 1 or file.samplerate != SAMPLE_RATE_HZ:
                    found = f"{file.channels} channels at {file.samplerate} Hz"
                    raise BadItem("AUDIO_RATE", f"{found}; the manifest says one at 16000 Hz")
                pcm_S = read_span(file, cut.start, cut.num_samples, "int16")
        except soundfile.LibsndfileError as error:
            raise BadItem("AUDIO_UNREADABLE", f"decoding fails: {error.error_string}") from error
        if len(pcm_S) < cut.num_samples:
            detail = f"the file ends {cut.num_samples - len(pcm_S)} samples before the cut does"
            raise BadItem("AUDIO_UNREADABLE", detail)
        refuse_unusable(pcm_S.astype(np.float32) / 32768)
        return pcm_S

    def _path(self, audio: str) -> Path:
        """A recording's file.  Raises ValueError for links that lead out of the root."""
        path = self._root / audio
        if not path.is_file():
            raise BadItem("AUDIO_MISSING", f"there is no file {audio} below {self._root}")
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise ValueError(
                f"{path} leads out of {self._root}, to {path.resolve()}; pass the folder that "
                "holds the files themselves, or copy them"
            )
        return path

    def _aligned(self, cut: Cut, text: str, pcm_S: np.ndarray) -> Found:
        """From the alignments if they have it, else by the aligner that stands in for them."""
        records = self._read.of.get(cut.id)
        forced = self._corpus.fall_back
        if isinstance(self._corpus.alignment, ForcedAlignment):
            forced = self._corpus.alignment
        elif records is not None:
            assert self._reader is not None
            return Found(self._reader.timed(records), self._corpus.alignment.aligned_by)
        if forced is None:
            detail = "the alignments have no such id; set fall_back to have it aligned"
            raise AlignmentError("ALIGN_MISSING", detail)
        aligner = forced.load(self._places)
        self.made.counts["numerals aligned as they were recognized"] += bool(cut.spoken)
        phones = forced.timed(aligner, cut.id, pcm_S, cut.spoken or text)
        return Found(phones, forced.aligned_by)

    def _checked(self, found: TimedPhones, num_samples: int) -> Alignment:
        """The alignment in our phones; how its length and the audio's differ is counted."""
        alignment = validated(
            found.symbols,
            found.starts,
            found.ends,
            num_samples,
            stated_samples=found.stated_samples,
            inventory=self._corpus.inventory,
        )
        counts = self.made.counts
        counts["phone boundaries mended"] += alignment.num_trimmed
        counts["phones that 50 Hz loses"] += _num_vanished(alignment, num_samples)
        excess = max(found.ends) if found.stated_samples is None else found.stated_samples
        counts[_difference(excess - num_samples)] += 1
        return alignment


def _num_vanished(alignment: Alignment, num_samples: int) -> int:
    frames = phones_at_50_hz(alignment.phones, alignment.ends, num_samples)
    return num_vanished(frames, len(alignment.phones))


def _difference(excess: int) -> str:
    """How much longer an alignment is than its audio, in the words of a count."""
    if excess > 0:
        return "alignments up to 20 ms longer than the audio"
    if -excess <= SNIPPED_SAMPLES:
        return "alignments as long as the audio, or up to 25 ms shorter"
    if -excess <= SNIPPED_SAMPLES + FRAME_SAMPLES:
        return "alignments 25 to 45 ms shorter than the audio"
    return "alignments over 45 ms shorter than the audio, the rest silence"


def _quarantine(subset: str, cut: Cut, error: BadItem | AlignmentError) -> Quarantined:
    stage = "align" if isinstance(error, AlignmentError) else "ingest"
    where = f"{cut.audio or manifest_name(subset)} (line {cut.line} of {manifest_name(subset)})"
    return Quarantined(id=cut.id, stage=stage, reason=error.reason, detail=error.detail, path=where)
