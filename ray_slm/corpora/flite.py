"""flite through ctypes: speech together with the exact end of every phone.

The ends are the synthesizer's own durations, "synthesis timings": ground truth, not an
alignment.  Legend: S samples at 16 kHz, P phones of one utterance.
"""

import ctypes
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ray_slm.corpora.flite_library import LIBRARIES, functions, register_voice, voice_library
from ray_slm.corpora.lexicon import NOISE, PHONE_SET, SILENCE, VOWELS
from ray_slm.corpora.synthesis import Spoken, Unspeakable
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ


class VoiceFacts(NamedTuple):
    """What a voice does when left alone; F0 figures are None where flite cannot move them."""

    stretch: float
    f0_mean_hz: float | None
    f0_spread_hz: float | None


# From the voices' own databases (flite 2.2).  rms predicts F0 by a path that reads no target.
VOICES: dict[str, VoiceFacts] = {
    "rms": VoiceFacts(1.0, None, None),
    "slt": VoiceFacts(1.0, 172.0, 27.0),
    "awb": VoiceFacts(1.0, 132.0, 25.0),
    "kal16": VoiceFacts(1.1, 95.0, 11.0),
}
REMEDY = (
    "run `apt-get install flite`, or use the fall-back voice that pip delivers: "
    'voice_rung="piper-joe"'
)
TIMED_VOICES = ("kal16",)  # diphones: the others decide on durations while they make sound
_DURATIONS = b"duration_model_func"  # the hook by which a voice's features replace its model
_LEAD_SECONDS, _TAIL_SECONDS = 0.05, 0.15  # silence around phones; the tail's end is lost


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _VoiceHead(ctypes.Structure):  # the C struct goes on
    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


def missing_libraries(voices: Sequence[str] = tuple(VOICES)) -> tuple[str, ...]:
    """Those of flite's shared libraries that cannot be loaded here."""
    missing = []
    for name in (*LIBRARIES, *(voice_library(voice) for voice in voices)):
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return tuple(missing)


def arpabet(name: str, stress: str) -> str:
    """A flite segment in stressed ARPAbet: ``pau`` is SIL, ``ax`` an unstressed AH.

    Raises Unspeakable (UNKNOWN_PHONE) for a segment that has no counterpart.
    """
    if name in ("pau", "ax"):
        return SILENCE if name == "pau" else "AH0"
    phone = name.upper()
    if phone in VOWELS:
        phone += "1" if stress == "1" else "0"
    if phone not in PHONE_SET:
        raise Unspeakable("UNKNOWN_PHONE", f"flite said {name!r}, which is not ARPAbet")
    return phone


def flite_symbol(phone: str) -> str:
    """The flite segment that is spoken for a phone; what ``arpabet`` gives for it, as a rule."""
    if phone in (SILENCE, NOISE, "AH0"):
        return "ax" if phone == "AH0" else "pau"
    return phone.rstrip("012").lower() + ("1" if phone.endswith("1") else "")


class Flite:
    """The synthesizer with some voices loaded.  One per process, from one thread, is enough.

    Equal arguments give equal samples: rate and pitch are set anew each time, and the C
    library's generator, which excites unvoiced sounds, is seeded by the text.
    """

    aligned_by = "synthesis timings"

    def __init__(self, voices: Sequence[str] = tuple(VOICES)) -> None:
        unknown = sorted(set(voices) - set(VOICES))
        if unknown:
            raise ValueError(f"flite has no voices {unknown}; use some of {sorted(VOICES)}")
        missing = missing_libraries(voices)
        if missing:
            raise ValueError(f"flite's libraries {', '.join(missing)} cannot be loaded; {REMEDY}")
        self._c = functions()
        self._voices = {voice: register_voice(voice) for voice in voices}

    def speak(self, text: str, voice: str, stretch: float = 1.0, f0_factor: float = 1.0) -> Spoken:
        """Speech of ``text``: int16 (S,), phones (P,), ends (P,) in samples, strictly rising.

        ``stretch`` multiplies durations, ``f0_factor`` the voice's mean F0 and its spread (no
        effect on rms).  Raises Unspeakable when no sound comes out.
        """
        self._set_manner(voice, stretch, f0_factor)
        self._c["srand"](zlib.crc32(text.encode()))
        utterance = self._c["flite_synth_text"](text.encode("ascii"), self._voices[voice])
        if not utterance:
            raise Unspeakable("SYNTHESIS_FAILED", f"flite made nothing of {text!r}")
        try:
            pcm = self._samples(utterance, text)
            phones, ends = self._segments(utterance, len(pcm))
        finally:
            self._c["delete_utterance"](utterance)
        return Spoken(pcm, phones, ends)

    def pronounce(self, text: str, voice: str = "kal16") -> tuple[str, ...]:
        """The phones of ``text`` without silences; kal16 takes about a millisecond a word."""
        phones = self.speak(text, voice).phones
        return tuple(phone for phone in phones if phone != SILENCE)

    def speak_phones(
        self, phones: Sequence[str], voice: str, ends: Sequence[int] | None = None
    ) -> np.ndarray:
        """Speech of stressed ARPAbet phones, int16 (S,), with a short silence around them.

        Phones last as the voice has it, or until ``ends`` (samples, rising; TIMED_VOICES only).
        Raises Unspeakable when no sound comes out.
        """
        self._set_manner(voice, 1.0, 1.0)
        line = " ".join(["pau", *map(flite_symbol, phones), "pau"]).encode()
        self._c["srand"](zlib.crc32(line))
        head = ctypes.cast(self._voices[voice], ctypes.POINTER(_VoiceHead)).contents
        hook = None if ends is None else self._timing(voice, ends)
        if hook is not None:
            function = self._c["uttfunc_val"](ctypes.cast(hook, ctypes.c_void_p))
            self._c["feat_set"](head.features, _DURATIONS, function)
        utterance = self._c["flite_synth_phones"](line, self._voices[voice])
        if hook is not None:
            self._c["feat_remove"](head.features, _DURATIONS)
        if not utterance:
            raise Unspeakable("SYNTHESIS_FAILED", f"flite made nothing of {len(phones)} phones")
        try:
            return self._samples(utterance, line.decode())
        finally:
            self._c["delete_utterance"](utterance)

    def _timing(self, voice: str, ends: Sequence[int]) -> Any:
        """A duration model for one utterance: every phone ends where it is told to."""
        if voice not in TIMED_VOICES:
            raise ValueError(f"voice {voice!r} takes no durations; use one of {TIMED_VOICES}")
        seconds = [_LEAD_SECONDS + end / SAMPLE_RATE_HZ for end in (0, *ends)]

        def set_ends(utterance: int) -> int:
            item = self._c["relation_head"](self._c["utt_relation"](utterance, b"Segment"))
            for end in (*seconds, seconds[-1] + _TAIL_SECONDS):
                self._c["item_set_float"](item, b"end", end)
                item = self._c["item_next"](item)
            return utterance

        return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(set_ends)

    def _set_manner(self, voice: str, stretch: float, f0_factor: float) -> None:
        if voice not in self._voices:
            raise ValueError(f"voice {voice!r} is not loaded; there are {sorted(self._voices)}")
        facts = VOICES[voice]
        head = ctypes.cast(self._voices[voice], ctypes.POINTER(_VoiceHead)).contents
        values = {b"duration_stretch": facts.stretch * stretch}
        if facts.f0_mean_hz is not None and facts.f0_spread_hz is not None:
            values[b"int_f0_target_mean"] = facts.f0_mean_hz * f0_factor
            values[b"int_f0_target_stddev"] = facts.f0_spread_hz * f0_factor
        for name, value in values.items():
            self._c["feat_set_float"](head.features, name, value)

    def _samples(self, utterance: int, text: str) -> np.ndarray:
        """A copy of the waveform, int16 (S,)."""
        pointer = self._c["utt_wave"](utterance)
        wave = ctypes.cast(pointer, ctypes.POINTER(_Wave)).contents if pointer else None
        if wave is None or wave.num_samples <= 0:
            raise Unspeakable("SYNTHESIS_FAILED", f"flite made no sound of {text!r}")
        assert wave.sample_rate == SAMPLE_RATE_HZ, wave.sample_rate
        assert wave.num_channels == 1, wave.num_channels
        return np.ctypeslib.as_array(wave.samples, shape=(wave.num_samples,)).copy()

    def _segments(
        self, utterance: int, num_samples: int
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Phones and ends.  The last end may overrun the wave (kal16: 0.1 s): it is clamped.

        A phone left without a sample is dropped: its neighbor already covers that time.
        """
        phones: list[str] = []
        ends: list[int] = []
        item = self._c["relation_head"](self._c["utt_relation"](utterance, b"Segment"))
        while item:
            end_seconds = self._c["item_feat_float"](item, b"end")
            end = min(round(end_seconds * SAMPLE_RATE_HZ), num_samples)
            if end > (ends[-1] if ends else 0):
                name = self._c["ffeature_string"](item, b"name").decode()
                stress = self._c["ffeature_string"](item, b"R:SylStructure.parent.stress").decode()
                phones.append(arpabet(name, stress))
                ends.append(end)
            item = self._c["item_next"](item)
        return tuple(phones), tuple(ends)
