"""Letter-to-sound rules learned from a pronouncing dictionary, for words that are in none.

Letters are aligned to the phones they stand for (nought to two each) by Viterbi training; a new
word is read letter by letter, each as it is most often read in the widest context seen before.
Only the fall-back voice needs this: flite has rules of its own.
"""

import collections
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ray_slm.corpora.lexicon import VOWELS

Phones = tuple[str, ...]
_ROUNDS = 4
_COSTS_FROM_EVERY = 10  # of the examples: what letters stand for is soon known
_MAX_PHONES_PER_LETTER = 2
# Letters of context to the left and right, widest first.
_CONTEXTS = ((3, 3), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), (0, 0))
_EDGE = "#"


class LetterToSound:
    """Rules learned from words and their pronunciations; reading a word takes microseconds."""

    def __init__(self, pronunciations: Mapping[str, Sequence[Phones]], every: int = 3) -> None:
        """Learn from each ``every``-th entry whose letters can account for its phones."""
        words = sorted(pronunciations)[::every]
        examples = [
            (word, pronunciations[word][0])
            for word in words
            if word.isascii()
            and word.isalpha()
            and len(pronunciations[word][0]) <= _MAX_PHONES_PER_LETTER * len(word)
        ]
        if not examples:
            raise ValueError(f"none of {len(words)} dictionary entries can be learned from")
        counts: dict[str, collections.Counter[Phones]] = {}
        for word, chunks in _aligned(examples):
            for i, chunk in enumerate(chunks):
                for context in _contexts(word, i):
                    counts.setdefault(context, collections.Counter())[chunk] += 1
        self._rules = {context: _most_common(found) for context, found in counts.items()}

    def pronounce(self, word: str) -> Phones:
        """Stressed phones of a word; ValueError if it has a symbol no example had."""
        letters = word.lower()
        strange = sorted({letter for letter in letters if f"[{letter}]" not in self._rules})
        if strange or not letters:
            raise ValueError(f"{word!r} cannot be read: no rule says how {strange} sound")
        chunks = (
            next(self._rules[c] for c in _contexts(letters, i) if c in self._rules)
            for i in range(len(letters))
        )
        return _with_one_stress(tuple(itertools.chain.from_iterable(chunks)))


def _contexts(word: str, i: int) -> list[str]:
    """Names of the contexts of letter ``i``, widest first; they differ by where the letter is."""
    padded = _EDGE * 3 + word + _EDGE * 3
    return [
        f"{padded[i + 3 - left : i + 3]}[{word[i]}]{padded[i + 4 : i + 4 + right]}"
        for left, right in _CONTEXTS
    ]


def _most_common(counts: collections.Counter[Phones]) -> Phones:
    """Ties go to the reading that sorts first, so that nothing hangs on the order of words."""
    return min(counts, key=lambda chunk: (-counts[chunk], chunk))


def _with_one_stress(phones: Phones) -> Phones:
    """Exactly one vowel, the first that claims it or else the first of all, is stressed."""
    vowels = [i for i, phone in enumerate(phones) if phone.rstrip("012") in VOWELS]
    claims = [i for i in vowels if phones[i].endswith("1")] or vowels
    stressed = list(phones)
    for i in vowels:
        bare, digit = phones[i][:-1], phones[i][-1]
        stressed[i] = bare + ("1" if i == claims[0] else digit.replace("1", "2"))
    return tuple(stressed)


def _aligned(examples: Sequence[tuple[str, Phones]]) -> list[tuple[str, list[Phones]]]:
    """Each word with the phones of each of its letters, after a few rounds of Viterbi."""
    costs: dict[tuple[str, Phones], float] = {}
    for _ in range(_ROUNDS):
        counts: collections.Counter[tuple[str, Phones]] = collections.Counter()
        for word, phones in examples[::_COSTS_FROM_EVERY]:
            counts.update(zip(word, _best_path(word, phones, costs), strict=True))
        totals: collections.Counter[str] = collections.Counter()
        for (letter, _), count in counts.items():
            totals[letter] += count
        costs = {pair: -math.log(count / totals[pair[0]]) for pair, count in counts.items()}
    return [(word, _best_path(word, phones, costs)) for word, phones in examples]


class _Step(NamedTuple):
    cost: float
    before: int  # phones accounted for before this letter


def _best_path(
    word: str, phones: Phones, costs: Mapping[tuple[str, Phones], float]
) -> list[Phones]:
    """The cheapest way to share ``phones`` out among the letters, in order."""
    table: list[dict[int, _Step]] = [{0: _Step(0.0, 0)}]
    for i, letter in enumerate(word):
        row: dict[int, _Step] = {}
        rest = _MAX_PHONES_PER_LETTER * (len(word) - i - 1)
        for before, step in table[-1].items():
            for size in range(_MAX_PHONES_PER_LETTER + 1):
                after = before + size
                if after > len(phones) or after + rest < len(phones):
                    continue
                chunk = phones[before:after]
                # Before anything is known, one phone a letter is likeliest.
                cost = step.cost + costs.get((letter, chunk), 10.0 + 3.0 * abs(size - 1))
                if after not in row or cost < row[after].cost:
                    row[after] = _Step(cost, before)
        table.append(row)
    path: list[Phones] = []
    at = len(phones)
    for row in reversed(table[1:]):
        path.append(phones[row[at].before : at])
        at = row[at].before
    return path[::-1]
