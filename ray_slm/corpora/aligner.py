"""Forced alignment with pocketsphinx: where each phone of a known text lies in its audio.

Two passes (words, then phones) with the settings that align practically everything.  The acoustic
model knows no stress, so digits come back from a pronouncing dictionary.  Legend: S samples at
16 kHz.  One aligner per process: loading takes about a second.
"""

import collections
import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ray_slm.corpora.alignment import AlignmentError
from ray_slm.corpora.lexicon import NOISE, SILENCE, VOWELS, without_stress

ALIGNED_BY = "pocketsphinx 5.1.1 forced alignment"
HOP_SAMPLES = 160  # the aligner's frames are 10 ms
DITHER_DEVIATION = 10.0  # of int16: digital silence makes the aligner give up
_NOT_SPOKEN = {"SIL": SILENCE, "+NSN+": SILENCE, "+SPN+": NOISE}
_VARIANT = re.compile(r"\(\d+\)$")

Pronounce = Callable[[str], tuple[str, ...]]  # a word -> stressed phones; ValueError if it cannot


def words_of(text: str, is_known: Callable[[str], bool]) -> list[str]:
    """The words to be aligned: lower case, letters and apostrophes.

    An apostrophe at an edge stays where the dictionary knows the word with it ("'tis").  Raises
    AlignmentError: TEXT_DIGITS (a numeral has several readings), TEXT_NO_WORDS.
    """
    numerals = re.findall(r"\S*\d\S*", text)
    if numerals:
        raise AlignmentError(
            "TEXT_DIGITS", f"write {numerals[0]!r} as it is spoken: a numeral has several readings"
        )
    tokens = re.sub(r"[^a-z']+", " ", text.lower()).split()
    words = [token if is_known(token) else token.strip("'") for token in tokens]
    if not any(words):
        raise AlignmentError("TEXT_NO_WORDS", f"there is no word in {text!r}")
    return [word for word in words if word]


def guessed_stress(bare: Sequence[str], models: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Stressless phones with the digits of the first model that has as many vowels.

    Without such a model the first vowel has primary stress and the others none.
    """
    vowels = [i for i, phone in enumerate(bare) if phone in VOWELS]
    digits = ["1", *itertools.repeat("0", len(vowels))][: len(vowels)]
    for model in models:
        found = [phone[-1] for phone in model if phone[-1] in "012"]
        if len(found) == len(vowels):
            digits = found
            break
    phones = list(bare)
    for i, digit in zip(vowels, digits, strict=True):
        phones[i] += digit
    return tuple(phones)


class Aligner:
    """A loaded pocketsphinx decoder.  What it says of one utterance depends on that one alone.

    ``stress_lexicon`` gives stressed pronunciations by word; ``pronounce`` says words that
    neither it nor the decoder knows, e.g. ``Flite(("kal16",)).pronounce``, or is None.
    ``counts`` counts words, unknown ones, and how the stress of each was found.
    """

    def __init__(
        self, stress_lexicon: Mapping[str, Sequence[tuple[str, ...]]], pronounce: Pronounce | None
    ) -> None:
        from pocketsphinx import Decoder

        # Beams this wide and no best-path search: the defaults give up on a third of utterances.
        self._decoder = Decoder(
            loglevel="FATAL", lm=None, bestpath=False, beam=1e-80, pbeam=1e-80, wbeam=1e-60
        )
        self._lexicon, self._pronounce = stress_lexicon, pronounce
        self._added: dict[str, tuple[str, ...]] = {}
        self.counts: collections.Counter[str] = collections.Counter()

    def align(self, pcm: np.ndarray, text: str, seed: int) -> list[tuple[str, int, int]] | None:
        """[(phone, start sample, end sample)] of int16 audio (S,), or None if it gives up.

        ``seed`` seeds the dither, which is added to a copy.  Raises AlignmentError: UNKNOWN_WORD
        naming the word, TEXT_DIGITS, TEXT_NO_WORDS.
        """
        words = words_of(text, self._is_known)
        for word in dict.fromkeys(words):
            self._learn(word)
        if len(pcm) == 0:
            return None
        dither = np.random.default_rng(seed).normal(0.0, DITHER_DEVIATION, len(pcm))
        noisy = np.clip(pcm + np.round(dither), -32768, 32767).astype(np.int16)
        found = self._decode(noisy.tobytes(), " ".join(words))
        if found is None:
            return None
        return [interval for name, segments in found for interval in self._labeled(name, segments)]

    def _is_known(self, word: str) -> bool:
        return word in self._lexicon or self._decoder.lookup_word(word) is not None

    def _learn(self, word: str) -> None:
        """Give the decoder a word it does not know, by dictionary or else by letter-to-sound."""
        if self._decoder.lookup_word(word) is not None:
            return
        pronunciations = list(self._lexicon.get(word, ())) or [self._sounded(word)]
        bare = dict.fromkeys(without_stress(phones) for phones in pronunciations)
        for number, phones in enumerate(bare, start=1):
            name = word if number == 1 else f"{word}({number})"
            self._decoder.add_word(name, " ".join(phones), number == len(bare))

    def _sounded(self, word: str) -> tuple[str, ...]:
        phones: tuple[str, ...] = ()
        why = "there is no letter-to-sound; install flite"
        if self._pronounce is not None:
            why = "letter-to-sound makes nothing of it"
            try:
                phones = self._pronounce(word)
            except ValueError as error:
                why = str(error)
        if not phones:
            raise AlignmentError("UNKNOWN_WORD", f"{word!r} is in no dictionary, and {why}")
        self._added[word] = phones
        return phones

    def _decode(self, raw: bytes, text: str) -> list[tuple[str, list[tuple[str, int, int]]]] | None:
        """(word, [(phone, start frame, end frame)]) after both passes, or None."""
        decoder = self._decoder
        try:
            decoder.set_align_text(text)
            self._pass(raw)
            # Ask only here: after the second pass hyp() crashes the process.
            if decoder.hyp() is None:
                return None
            decoder.set_alignment()
            self._pass(raw)
        except RuntimeError:  # how pocketsphinx says that no path reached the end
            return None
        return [
            (word.name, [(p.name, p.start, p.start + p.duration) for p in word])
            for word in decoder.get_alignment()
        ]

    def _pass(self, raw: bytes) -> None:
        # Without this the front end remembers the previous audio, and boundaries move with it.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(raw, full_utt=True)
        self._decoder.end_utt()

    def _labeled(
        self, name: str, segments: list[tuple[str, int, int]]
    ) -> list[tuple[str, int, int]]:
        """One word's intervals in samples, with the phones of our inventory."""
        bare = tuple(phone for phone, _, _ in segments)
        if _NOT_SPOKEN.keys() >= set(bare):
            labels = tuple(_NOT_SPOKEN[phone] for phone in bare)
        else:
            labels = self._stressed(_VARIANT.sub("", name), bare)
        return [
            (label, start * HOP_SAMPLES, end * HOP_SAMPLES)
            for label, (_, start, end) in zip(labels, segments, strict=True)
        ]

    def _stressed(self, word: str, bare: tuple[str, ...]) -> tuple[str, ...]:
        """The pronunciation that equals ``bare``, or the stress of the most similar one."""
        models = [*self._lexicon.get(word, ()), *filter(None, [self._added.get(word)])]
        self.counts["words"] += 1
        self.counts["unknown words"] += word in self._added
        for phones in models:
            if without_stress(phones) == bare:
                return phones
        self.counts["words whose stress was guessed"] += any(p in VOWELS for p in bare)
        return guessed_stress(bare, models)


def letter_to_sound() -> Pronounce | None:
    """flite's pronunciation of words no dictionary knows; None when flite is not installed."""
    from ray_slm.corpora.flite import Flite, missing_libraries

    voices = ("kal16",)
    return None if missing_libraries(voices) else Flite(voices).pronounce
