"""Whether a file can be used, found out by reading all of it: headers lie.

Audio comes out as float32 mono at 16 kHz, text in the symbols of ``text.py``; what cannot be used
raises BadItem with the reason under which it is quarantined.  Legend: S samples.
"""

import hashlib
import struct
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from ray_slm.corpora.text import clean_text, num_replaced
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import soundfile

MIN_SAMPLES = 400  # shorter audio has no 50 Hz frame
SILENT_PEAK = 1e-3  # -60 dB: below it there is no speech that 16 bits could hold
LARGEST_PEAK = 2.0  # some overshoot of 1.0 is clipped; more means another scale
_MAGICS = (b"RIFF", b"RF64", b"fLaC")
_STREAMED_BYTES = 0x7FFFF000  # data sizes from here on stand for "unknown" in piped WAV files
_SPOKEN_MARKS = frozenset("&%@#+=")  # read aloud, so that dropping them would falsify the text


class BadItem(ValueError):
    """An item that cannot be used; ``reason`` is the code it is quarantined under."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Transcript(NamedTuple):
    """A text in our symbols, and how many of its marks were replaced by a space."""

    text: str
    num_replaced: int


def decode(path: Path, max_seconds: float = 3600.0) -> np.ndarray:
    """All samples of a WAV or FLAC file, float32 (S,) mono at 16 kHz, S >= 400.

    Other rates are resampled.  Several channels are refused, never averaged: they may be
    different speakers or in opposite phase; only the owner knows which one to keep.

    Raises BadItem: AUDIO_MISSING, AUDIO_EMPTY (no samples, or under 25 ms), AUDIO_UNREADABLE
    (cut short, damaged, another format), AUDIO_CHANNELS, AUDIO_TOO_LONG, AUDIO_NAN, AUDIO_RANGE,
    AUDIO_SILENT (peak under -60 dB).
    """
    import soundfile

    _refuse_foreign(path)
    try:
        with soundfile.SoundFile(path) as file:
            samples_S, rate = _read(file, max_seconds), int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise BadItem("AUDIO_UNREADABLE", f"decoding fails: {error.error_string}") from error
    if len(samples_S) * SAMPLE_RATE_HZ < MIN_SAMPLES * rate:
        raise BadItem("AUDIO_EMPTY", f"{len(samples_S)} samples at {rate} Hz: less than 25 ms")
    refuse_unusable(samples_S)
    if rate != SAMPLE_RATE_HZ:
        import soxr

        samples_S = soxr.resample(samples_S, rate, SAMPLE_RATE_HZ).astype(np.float32)
    return samples_S


def transcript(raw: bytes) -> Transcript:
    """The text of UTF-8 bytes in NFC and in our 78 symbols.

    Marks that are not read aloud become spaces and are counted.  Raises BadItem: TEXT_ENCODING,
    TEXT_EMPTY (no letter or digit), UNKNOWN_SYMBOL listing letters, digits and signs outside the
    78 symbols: without them the text would not say what the audio says.
    """
    try:
        text = unicodedata.normalize("NFC", raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadItem(
            "TEXT_ENCODING", f"not UTF-8 at byte {error.start}: {error.reason}"
        ) from error
    lost = sorted({symbol for symbol in text if num_replaced(symbol) and _is_spoken(symbol)})
    if lost:
        named = ", ".join(f"{symbol!a} (U+{ord(symbol):04X})" for symbol in lost[:20])
        raise BadItem("UNKNOWN_SYMBOL", f"outside the text symbols: {named}; write it in those")
    cleaned = clean_text(text)
    if not any(symbol.isalnum() for symbol in cleaned):
        raise BadItem("TEXT_EMPTY", f"no letter or digit in {text.strip()[:40]!a}")
    return Transcript(cleaned, num_replaced(text))


def _is_spoken(symbol: str) -> bool:
    """Letters, digits, currency signs, combining and control characters, and some marks."""
    category = unicodedata.category(symbol)
    return category[0] in "LNMC" or category == "Sc" or symbol in _SPOKEN_MARKS


def _refuse_foreign(path: Path) -> None:
    """Raise BadItem for what is no WAV or FLAC file, or a WAV file that breaks off."""
    if not path.is_file():
        raise BadItem("AUDIO_MISSING", f"there is no file {path.name}")
    with path.open("rb") as file:
        magic = file.read(4)
        if not magic:
            raise BadItem("AUDIO_EMPTY", "the file has no bytes")
        if magic not in _MAGICS:
            detail = f"the file begins with {magic!r}: it is neither WAV nor FLAC"
            raise BadItem("AUDIO_UNREADABLE", detail)
        if magic == b"RIFF":
            _refuse_cut_wave(file, path.stat().st_size)


def _refuse_cut_wave(file: BinaryIO, num_bytes: int) -> None:
    """Raise BadItem when a WAV file has fewer bytes than it says; decoders pass over that."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            present = num_bytes - file.tell()
            if present < size < _STREAMED_BYTES:
                detail = f"the file breaks off: {present} of {size} bytes of audio are there"
                raise BadItem("AUDIO_UNREADABLE", detail)
            return
        file.seek(size + size % 2, 1)


def _read(file: "soundfile.SoundFile", max_seconds: float) -> np.ndarray:
    """Every sample of an open file (S,), never more than ``max_seconds`` of them."""
    if file.channels != 1:
        detail = f"{file.channels} channels; keep one, at best the speaker's own"
        raise BadItem("AUDIO_CHANNELS", detail)
    limit = int(max_seconds * file.samplerate)
    is_16_bit = file.subtype == "PCM_16"
    samples_S: np.ndarray = file.read(limit + 1, dtype="int16" if is_16_bit else "float32")
    if len(samples_S) < min(file.frames, limit + 1):
        detail = f"the header says {file.frames} samples, {len(samples_S)} can be decoded"
        raise BadItem("AUDIO_UNREADABLE", detail)
    if len(samples_S) > limit:
        seconds = file.frames / file.samplerate
        raise BadItem("AUDIO_TOO_LONG", f"{seconds:.3f} s; at most {max_seconds:.3f} s are used")
    if file.format == "FLAC" and is_16_bit:
        _refuse_wrong_sum(Path(file.name), samples_S)
    if is_16_bit:
        samples_S = samples_S.astype(np.float32) / 32768
    return samples_S


def _refuse_wrong_sum(path: Path, samples_S: np.ndarray) -> None:
    """Raise BadItem when 16-bit samples are not those whose MD5 the FLAC header tells."""
    with path.open("rb") as file:
        told = file.read(42)[26:]
    found = hashlib.md5(samples_S.astype("<i2").tobytes(), usedforsecurity=False).digest()
    if any(told) and told != found:
        detail = f"the samples have MD5 {found.hex()}, the FLAC header says {told.hex()}"
        raise BadItem("AUDIO_UNREADABLE", detail)


def refuse_unusable(samples_S: np.ndarray) -> None:
    """Raise BadItem (AUDIO_NAN, AUDIO_RANGE, AUDIO_SILENT) for float32 (S,) that is no speech."""
    if not np.isfinite(samples_S).all():
        bad = int(np.flatnonzero(~np.isfinite(samples_S))[0])
        raise BadItem("AUDIO_NAN", f"sample {bad} is {samples_S[bad]}")
    if np.abs(samples_S).max() > LARGEST_PEAK:
        peak = float(np.abs(samples_S).max())
        raise BadItem("AUDIO_RANGE", f"samples reach {peak:.6g}; full scale is 1.0")
    peak = float(np.abs(samples_S - samples_S.mean()).max())
    if peak < SILENT_PEAK:
        raise BadItem("AUDIO_SILENT", f"the peak is {peak:.2e} of full scale")
