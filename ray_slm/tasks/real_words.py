"""What counts as a real word, in letters and in sound, so that no pseudo-word is one.

Spelling: a frequency list, a pronouncing dictionary, the corpus and regular derivations of them.
Sound: flite's reading of the candidate against every pronunciation in the dictionary.
"""

import functools
from collections.abc import Callable, Collection, Iterable

from ray_slm.corpora.lexicon import Pronunciations, pocketsphinx_pronunciations, without_stress

_PREFIXES = ("un", "re", "in", "im", "dis", "mis", "over", "out", "non", "fore", "up")
_SUFFIXES = (
    *("s", "es", "ed", "d", "ing", "ly", "er", "r", "est", "ness", "less", "ful", "y", "ish"),
    *("like", "able", "ment", "man", "men", "wise", "ity", "ism", "ist", "ive", "al", "age"),
)
_VOICE = "rms"  # kal16 is faster, but complains on stderr of sounds it lacks
_MIN_STEM = 4  # nearly every string of three letters is somebody's abbreviation
# Pairs that speakers merge or that two dictionaries write differently.
_MERGED = {"AO": "AA", "IH": "AH", "UH": "AH"}
_BLURRED = {**_MERGED, "AA": "AH", "AO": "AH", "EH": "AH", "ER": "AH R"}


Pronounce = Callable[[str], tuple[str, ...]]  # spelling -> stressed phones without silences


@functools.cache
def flite_pronounce() -> Pronounce | None:
    """flite's reading of a spelling, or None on a machine without flite."""
    from ray_slm.corpora.flite import Flite, missing_libraries

    if missing_libraries([_VOICE]):
        return None
    flite = Flite([_VOICE])
    return functools.cache(functools.partial(flite.pronounce, voice=_VOICE))


@functools.cache
def frequent_words(min_zipf: float) -> frozenset[str]:
    """Plain words of the frequency list with at least this Zipf frequency (log10 per 10^9)."""
    from wordfreq import get_frequency_dict

    floor = 10 ** (min_zipf - 9)
    frequencies = get_frequency_dict("en")
    return frozenset(
        w for w, f in frequencies.items() if f >= floor and w.isascii() and w.isalpha()
    )


@functools.cache
def _dictionary() -> Pronunciations:
    """The pronouncing dictionary, read once per process."""
    return pocketsphinx_pronunciations()


@functools.cache
def _sounds() -> frozenset[tuple[str, ...]]:
    """How the dictionary's words sound."""
    return frozenset(merged(p) for variants in _dictionary().values() for p in variants)


class RealWords:
    """Known spellings and sounds; ``extra`` are the corpus's own words."""

    def __init__(self, extra: Iterable[str]) -> None:
        self.pronounced: Collection[str] = _dictionary().keys()
        self._spellings = frequent_words(0.0) | _dictionary().keys() | set(extra)
        self._stems = frequent_words(2.0) & _dictionary().keys()

    def is_spelled(self, text: str) -> bool:
        """Whether ``text`` is a known word or a regular derivation of one."""
        return text in self._spellings or any(stem in self._stems for stem in _stems(text))

    def is_heard(self, phones: Iterable[str]) -> bool:
        """Whether these phones sound like a known word."""
        return merged(phones) in _sounds()


def merged(phones: Iterable[str]) -> tuple[str, ...]:
    """Phones without stress and without distinctions that too few speakers make."""
    return tuple(_MERGED.get(phone, phone) for phone in without_stress(phones))


def blurred(phones: Iterable[str]) -> str:
    """Phones with all short vowels made one: affairs and offairs are then the same."""
    return " ".join(_BLURRED.get(phone, phone) for phone in without_stress(phones))


@functools.cache
def _stems(text: str) -> frozenset[str]:
    """What is left without a prefix or a suffix, a dropped final e put back."""
    stems = {text[len(prefix) :] for prefix in _PREFIXES if text.startswith(prefix)}
    for suffix in _SUFFIXES:
        if text.endswith(suffix):
            stem = text[: -len(suffix)]
            stems |= {stem, stem + "e", stem[:-1] + "y" if stem.endswith("i") else stem}
    return frozenset(stem for stem in stems if len(stem) >= _MIN_STEM)
