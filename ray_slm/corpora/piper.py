"""The fall-back voice, for machines where only pip delivers: Piper's en_US-joe through onnxruntime.

Words become phones by dictionary, or else by rules learned from it, and phones become the
symbols of the voice, so that no GPL phonemizer is needed.  The voice does not say when a phone
ends: pocketsphinx aligns.  Legend: S samples at 16 kHz.
"""

import functools
import itertools
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_slm.corpora.aligner import ALIGNED_BY, Aligner
from ray_slm.corpora.alignment import AlignmentError
from ray_slm.corpora.assets import locate
from ray_slm.corpora.lexicon import Pronunciations, read_cmudict
from ray_slm.corpora.synthesis import VOICES_BY_RUNG, Spoken, Unspeakable
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from ray_slm.corpora.letters import LetterToSound

# What espeak's en-us calls each phone, which is what the voice was trained on.
_CONSONANTS = (
    "B b, CH t\u0283, D d, DH \u00f0, F f, G \u0261, HH h, JH d\u0292, K k, L l, M m, N n, "
    "NG \u014b, P p, R \u0279, S s, SH \u0283, T t, TH \u03b8, V v, W w, Y j, Z z, ZH \u0292"
)
_VOWELS = (
    "AA \u0251\u02d0, AE \u00e6, AH \u028c, AO \u0254\u02d0, AW a\u028a, AY a\u026a, EH \u025b, "
    "ER \u025c\u02d0, EY e\u026a, IH \u026a, IY i\u02d0, OW o\u028a, OY \u0254\u026a, UH \u028a, "
    "UW u\u02d0"
)
_CONSONANT_IPA: dict[str, str] = dict(pair.split() for pair in _CONSONANTS.split(","))
_VOWEL_IPA: dict[str, str] = dict(pair.split() for pair in _VOWELS.split(","))
_UNSTRESSED_IPA = {**_VOWEL_IPA, "AH": "\u0259", "ER": "\u025a", "IY": "i"}
_STRESS_MARK = {"0": "", "1": "\u02c8", "2": "\u02cc"}
_PAUSES = ",.;:?!"
_TOKEN = re.compile(rf"[A-Za-z]+(?:'[A-Za-z]+)*'?|[{_PAUSES}]|\d+")
_SIBILANTS = {"S", "Z", "SH", "ZH", "CH", "JH"}
_VOICELESS = {"P", "T", "K", "F", "TH"}
_PEAK = 0.7 * 32767  # every utterance is scaled to this


def ipa(phones: Sequence[str]) -> str:
    """Stressed ARPAbet in the voice's symbols; the stress mark stands before its vowel."""
    symbols = []
    for phone in phones:
        bare, digit = phone.rstrip("012"), phone[-1]
        if bare in _CONSONANT_IPA:
            symbols.append(_CONSONANT_IPA[bare])
        else:
            vowels = _UNSTRESSED_IPA if digit == "0" else _VOWEL_IPA
            symbols.append(_STRESS_MARK[digit] + vowels[bare])
    return "".join(symbols)


def possessive(phones: Sequence[str]) -> tuple[str, ...]:
    """A noun's phones with the ending 's: IH0 Z after a sibilant, S after a voiceless stop, Z."""
    if phones[-1] in _SIBILANTS:
        return (*phones, "IH0", "Z")
    return (*phones, "S" if phones[-1] in _VOICELESS else "Z")


class Reader:
    """Words to phones: the dictionary's first pronunciation, or else what rules make of it.

    ``pronunciations`` is CMUdict.  Rules are learned when the first unknown word is met.
    """

    def __init__(self, pronunciations: Pronunciations) -> None:
        self._pronunciations = pronunciations
        self._rules: LetterToSound | None = None

    def pronounce(self, word: str) -> tuple[str, ...]:
        """Stressed phones of one word.  Raises ValueError when rules make nothing of it."""
        word = word.lower()
        known = self._pronunciations.get(word) or self._pronunciations.get(word.strip("'"))
        if known:
            return known[0]
        stem, apostrophe, ending = word.rpartition("'")
        if apostrophe and ending in ("s", "") and stem:
            return possessive(self.pronounce(stem)) if ending else self.pronounce(stem)
        if self._rules is None:
            from ray_slm.corpora.letters import LetterToSound

            self._rules = LetterToSound(self._pronunciations)
        return self._rules.pronounce(word.replace("'", ""))

    def symbols(self, text: str) -> str:
        """A sentence in the voice's symbols, words apart, pauses at the marks that make them.

        Raises Unspeakable: TEXT_DIGITS on a numeral, which has several readings; EMPTY_TEXT.
        """
        said: list[str] = []
        for token in _TOKEN.findall(text):
            if token.isdigit():
                raise Unspeakable("TEXT_DIGITS", f"write {token!r} as it is spoken")
            if token in _PAUSES:
                said[-1:] = [said[-1] + token] if said else []
            else:
                said.append(ipa(self.pronounce(token)))
        if not said:
            raise Unspeakable("EMPTY_TEXT", f"there is no word in {text!r}")
        return " ".join(said)


class Piper:
    """The voice "joe", loaded.  Noise is off, so that equal arguments give equal samples."""

    aligned_by = ALIGNED_BY

    def __init__(self, model: Path, config: Path, pronunciations: Pronunciations) -> None:
        self._session = _session(model)
        settings = json.loads(config.read_text(encoding="utf-8"))
        self._ids: dict[str, list[int]] = settings["phoneme_id_map"]
        self._rate_hz: int = settings["audio"]["sample_rate"]
        self.reader = Reader(pronunciations)
        self._aligner = Aligner(pronunciations, self.reader.pronounce)

    def speak(self, text: str, voice: str, stretch: float = 1.0, f0_factor: float = 1.0) -> Spoken:
        """Speech of ``text``: int16 (S,), with phones from a forced alignment.

        ``f0_factor`` resamples: formants move with the pitch, as in another speaker.  Raises
        Unspeakable (EMPTY_TEXT, TEXT_DIGITS, ALIGN_FAILED ...).
        """
        if voice not in VOICES_BY_RUNG["piper-joe"]:
            raise ValueError(f"piper-joe has no voice {voice!r}; its one voice is 'joe'")
        pcm = self._synthesize(self.reader.symbols(text), stretch * f0_factor, f0_factor)
        phones, ends = self._align(pcm, text)
        return Spoken(pcm, phones, ends)

    def _synthesize(self, symbols: str, length_scale: float, f0_factor: float) -> np.ndarray:
        import soxr

        ids = _with_padding([self._ids[symbol] for symbol in symbols], self._ids)
        inputs = {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": np.array([0.0, length_scale, 0.0], dtype=np.float32),  # noise off
        }
        samples = np.asarray(self._session.run(None, inputs)[0], dtype=np.float32).reshape(-1)
        samples = soxr.resample(samples, self._rate_hz * f0_factor, SAMPLE_RATE_HZ)
        louder = _PEAK / max(float(np.abs(samples).max()), 1e-6)
        return np.asarray(np.round(samples * louder), dtype=np.int16)

    def _align(self, pcm: np.ndarray, text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Phones and ends; the last phone is carried to the end of the waveform."""
        try:
            intervals = self._aligner.align(pcm, text, zlib.crc32(text.encode()))
        except AlignmentError as error:
            raise Unspeakable(error.reason, error.detail) from error
        if not intervals:
            raise Unspeakable("ALIGN_FAILED", f"the aligner gave up on {text!r}")
        ends = [min(end, len(pcm)) for _, _, end in intervals]
        ends[-1] = len(pcm)
        kept = [i for i, (a, b) in enumerate(itertools.pairwise((0, *ends))) if a < b]
        return tuple(intervals[i][0] for i in kept), tuple(ends[i] for i in kept)


def load_piper(places: Mapping[str, Path]) -> Piper:
    """The voice with its dictionary, from the place "assets"; loaded once per process."""
    names = ("piper-joe", "piper-joe-config", "cmudict")
    return _load(*(locate(places, name) for name in names))


@functools.cache
def _load(model: Path, config: Path, dictionary: Path) -> Piper:
    return Piper(model, config, read_cmudict(dictionary))


def _session(model: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            'voice_rung="piper-joe" needs onnxruntime; run `pip install onnxruntime`, or '
            '`apt-get install flite` for voice_rung="flite"'
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _with_padding(symbols: Sequence[list[int]], ids: Mapping[str, list[int]]) -> list[int]:
    """Beginning, then each symbol, a pad after each of these; then the end."""
    parts = [ids["^"], *symbols]
    return [*itertools.chain.from_iterable([*part, *ids["_"]] for part in parts), *ids["$"]]
