"""Turns lines of text into a shard of a corpus: one wave file and its utterance table.

What comes out depends on the lines alone, never on order, worker or history, so that a shard
made twice is the same bytes.  Legend: S samples at 16 kHz, P phones of one utterance.
"""

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ray_slm.corpora.shard import ShardInTheMaking
from ray_slm.corpora.text import clean_text, num_replaced
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Quarantined, Utterance

STRETCH_RANGE = (0.85, 1.2)  # multiplies durations
F0_RANGE = (0.88, 1.14)  # multiplies the mean fundamental frequency: about +-2 semitones
VOICES_BY_RUNG: dict[str, tuple[str, ...]] = {
    "flite": ("rms", "slt", "awb", "kal16"),
    "piper-joe": ("joe",),
}
_MIN_SAMPLES = 400  # shorter audio has no 50 Hz frame


class Unspeakable(ValueError):
    """A line that cannot be spoken; ``reason`` is the code it is quarantined under."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line to be spoken by the voice ``speaker``.

    ``manner`` is the id whose hash sets rate and pitch; empty means the line's own.  The two
    sides of a minimal pair share one, so that they differ in their words only.
    """

    id: str
    split: str
    speaker: str
    book: str
    text: str
    manner: str = ""


class Spoken(NamedTuple):
    """Speech: int16 (S,), phones (P,) and their ends (P,) in samples, strictly rising."""

    pcm: np.ndarray
    phones: tuple[str, ...]
    ends: tuple[int, ...]


class Speaker(Protocol):
    """A synthesizer with its voices loaded.  Equal arguments give equal samples."""

    @property
    def aligned_by(self) -> str:
        """Where ``ends`` come from, as utterances record it."""
        ...

    def speak(self, text: str, voice: str, stretch: float = 1.0, f0_factor: float = 1.0) -> Spoken:
        """Speech of ``text``; raises Unspeakable when there can be none."""
        ...


class Manner(NamedTuple):
    """How fast (``stretch`` multiplies durations) and how high a line is spoken."""

    stretch: float
    f0_factor: float


def load_speaker(rung: str, voices: Sequence[str], places: Mapping[str, Path]) -> Speaker:
    """The synthesizer of a rung with ``voices`` loaded.

    Never falls to another rung by itself: the rung is part of what a corpus is.  Raises
    ValueError, with the remedy, when a rung or voice is unknown or not installed.
    """
    check_voices(rung, voices)
    if rung == "flite":
        from ray_slm.corpora.flite_process import flite_process

        return flite_process(tuple(voices))
    from ray_slm.corpora.piper import load_piper

    return load_piper(places)


def check_voices(rung: str, voices: Sequence[str]) -> None:
    """Raise ValueError unless ``rung`` exists and has all of ``voices``."""
    if rung not in VOICES_BY_RUNG:
        raise ValueError(f"voice_rung is {rung!r}; use one of {sorted(VOICES_BY_RUNG)}")
    unknown = sorted(set(voices) - set(VOICES_BY_RUNG[rung]))
    if unknown or not voices:
        raise ValueError(f"{rung} has no voices {unknown}; use some of {VOICES_BY_RUNG[rung]}")


def voice_settings(line_id: str) -> Manner:
    """The manner that belongs to an id: each figure uniform on its range, by hash."""
    digest = hashlib.sha256(f"voice settings of {line_id}".encode()).digest()
    parts = [int.from_bytes(digest[at : at + 4], "big") / 2**32 for at in (0, 4)]
    (slow, slowest), (low, high) = STRETCH_RANGE, F0_RANGE
    stretch = slow + (slowest - slow) * parts[0]
    return Manner(round(stretch, 4), round(low + (high - low) * parts[1], 4))


def audio_name(shard: int) -> str:
    """The path of a shard's wave file inside a corpus folder."""
    return f"audio/shard-{shard:05d}.wav"


def render_shard(
    lines: Iterable[Line], folder: Path, shard: int, speaker: Speaker
) -> list[Quarantined]:
    """Speak ``lines`` into ``folder``; return those that could not be spoken.

    One wave file holds them all.  Ids in = ids in the table + ids in quarantine.
    """
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        wave = Path(name) / "shard.wav"
        made = _speak_all(lines, wave, shard, speaker)
        made.publish(folder, shard, audio=(wave, audio_name(shard)))
    return made.quarantined


def _speak_all(lines: Iterable[Line], path: Path, shard: int, speaker: Speaker) -> ShardInTheMaking:
    """Write the wave file; the utterances in it, by id, and the lines that are not."""
    import soundfile

    made, start = ShardInTheMaking(), 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, channels=1, subtype="PCM_16") as wave:
        for line in sorted(lines, key=lambda each: each.id):
            try:
                spoken = _speak(line, speaker)
            except Unspeakable as error:
                made.quarantined.append(_quarantine(line, error))
                continue
            wave.write(spoken.pcm)
            made.utterances.append(_utterance(line, spoken, shard, start, speaker.aligned_by))
            start += len(spoken.pcm)
    return made


def _speak(line: Line, speaker: Speaker) -> Spoken:
    text = clean_text(line.text)
    if num_replaced(line.text):
        raise Unspeakable("UNKNOWN_SYMBOL", f"not all text symbols: {line.text!r}")
    if not any(symbol.isalnum() for symbol in text):
        raise Unspeakable("EMPTY_TEXT", f"no letter or digit in {line.text!r}")
    manner = voice_settings(line.manner or line.id)
    spoken = speaker.speak(text, line.speaker, manner.stretch, manner.f0_factor)
    if len(spoken.pcm) < _MIN_SAMPLES or not spoken.pcm.any():
        raise Unspeakable("SYNTHESIS_FAILED", f"{len(spoken.pcm)} samples of silence for {text!r}")
    rising = all(a < b for a, b in zip((0, *spoken.ends), spoken.ends, strict=False))
    assert len(spoken.ends) == len(spoken.phones) > 0, line.id
    assert rising, f"ends of {line.id} do not rise: {spoken.ends}"
    assert spoken.ends[-1] <= len(spoken.pcm), f"ends of {line.id} overrun the waveform"
    return spoken


def _quarantine(line: Line, error: Unspeakable) -> Quarantined:
    return Quarantined(id=line.id, stage="synthesis", reason=error.reason, detail=error.detail)


def _utterance(line: Line, spoken: Spoken, shard: int, start: int, aligned_by: str) -> Utterance:
    return Utterance(
        id=line.id,
        split=line.split,
        speaker=line.speaker,
        book=line.book,
        transcript=clean_text(line.text),
        audio=audio_name(shard),
        start=start,
        num_samples=len(spoken.pcm),
        phones=spoken.phones,
        ends=spoken.ends,
        aligned_by=aligned_by,
    )
