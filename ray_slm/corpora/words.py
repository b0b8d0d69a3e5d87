"""Where words end in an aligned utterance, found by spelling its phones with a dictionary.

A corpus stores phones without words.  The phones of an utterance are parsed as pronunciations of
its words, silences in between; where that works in exactly one way, every word's end is known.
"""

import re
from typing import NamedTuple

from ray_slm.corpora.lexicon import NOISE, SILENCE, Pronunciations, without_stress
from ray_slm.corpora.utterance import Utterance

_WORD = re.compile(r"[A-Za-z']+")
_SILENT = (SILENCE, NOISE)


class Word(NamedTuple):
    """A word of an utterance: where its letters end in the transcript, and its last phone."""

    text: str
    letters_end: int  # index into the transcript
    phones_end: int  # index into the phones


def aligned_words(utterance: Utterance, pronunciations: Pronunciations) -> list[Word] | None:
    """The words with their ends, or None where the phones do not tell them without doubt.

    ``pronunciations`` is stressless and keyed by lower-cased word.
    """
    found = list(_WORD.finditer(utterance.transcript))
    if not found or any(symbol.isdigit() for symbol in utterance.transcript):
        return None
    spelled = [match[0].lower() for match in found]
    known = [pronunciations.get(w) or pronunciations.get(w.strip("'"), []) for w in spelled]
    ends = _ends(without_stress(utterance.phones), known)
    if ends is None:
        return None
    return [Word(m[0], m.end(), end) for m, end in zip(found, ends, strict=True)]


def _ends(
    phones: tuple[str, ...], pronunciations: list[list[tuple[str, ...]]]
) -> tuple[int, ...] | None:
    """For each word the index after its last phone; None without a parse, or with several."""
    parses: dict[int, list[tuple[int, ...]]] = {0: [()]}  # by phones used so far
    for choices in pronunciations:
        longer: dict[int, list[tuple[int, ...]]] = {}
        for at, ends in parses.items():
            start = _past_silence(phones, at)
            reached = {start + len(p) for p in choices if phones[start : start + len(p)] == p}
            for end in reached:
                longer.setdefault(end, []).extend((*one, end) for one in ends)
        parses = {end: found[:2] for end, found in longer.items()}  # two already mean doubt
    whole = [
        one
        for at, found in parses.items()
        if _past_silence(phones, at) == len(phones)
        for one in found
    ]
    return whole[0] if len(whole) == 1 else None


def _past_silence(phones: tuple[str, ...], at: int) -> int:
    while at < len(phones) and phones[at] in _SILENT:
        at += 1
    return at
