"""Witten-Bell n-grams over letters or words: the baseline that shows how easy a pair is.

A pair that an n-gram decides says little about a language model, so made items are matched
against one and the report prints what it gets right.
"""

import collections
import math
from collections.abc import Iterable, Sequence

_EDGE = ""  # marks both ends of a sequence; no letter and no word is empty
_TIE = 1e-9  # natural log: orders of summation differ by less


class NgramModel:
    """Interpolated n-gram model (Witten and Bell 1991) over sequences of strings.

    A string is a sequence of letters; a tuple of strings, of words.
    """

    def __init__(self, sequences: Iterable[tuple[Sequence[str], int]], order: int) -> None:
        if order < 1:
            raise ValueError(f"an n-gram model needs an order of 1 or more, got {order}")
        self.order = order
        self._grams: collections.Counter[tuple[tuple[str, ...], str]] = collections.Counter()
        self._histories: collections.Counter[tuple[str, ...]] = collections.Counter()
        self._kinds: collections.Counter[tuple[str, ...]] = collections.Counter()
        for sequence, count in sequences:
            for history, symbol in self._events(sequence):
                for length in range(order):
                    key = history[order - 1 - length :]
                    self._kinds[key] += (key, symbol) not in self._grams
                    self._grams[key, symbol] += count
                    self._histories[key] += count
        self._uniform = 1 / (1 + self._kinds[()])  # one more for whatever was never seen

    def score(self, sequence: Sequence[str]) -> float:
        """Natural-log probability of the sequence and its end."""
        return math.fsum(
            math.log(self._probability(history, symbol))
            for history, symbol in self._events(sequence)
        )

    def _probability(self, history: tuple[str, ...], symbol: str) -> float:
        probability = self._uniform
        for length in range(self.order):
            key = history[self.order - 1 - length :]
            if seen := self._histories[key]:
                kinds = self._kinds[key]
                probability = (self._grams[key, symbol] + kinds * probability) / (seen + kinds)
        return probability

    def _events(self, sequence: Sequence[str]) -> Iterable[tuple[tuple[str, ...], str]]:
        padded = (_EDGE,) * (self.order - 1) + tuple(sequence) + (_EDGE,)
        for i in range(self.order - 1, len(padded)):
            yield padded[i - self.order + 1 : i], padded[i]


def preference(model: NgramModel, positive: Sequence[str], negative: Sequence[str]) -> float:
    """1.0 when the model prefers ``positive``, 0.0 when ``negative``, 0.5 for a tie."""
    margin = model.score(positive) - model.score(negative)
    return 0.5 if abs(margin) < _TIE else float(margin > 0)


def accuracy(model: NgramModel, pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Share of (positive, negative) pairs the model gets right, ties counting half.

    Raises ValueError when there is no pair.
    """
    preferences = [preference(model, positive, negative) for positive, negative in pairs]
    if not preferences:
        raise ValueError("the accuracy of a baseline needs at least one pair, got none")
    return math.fsum(preferences) / len(preferences)
