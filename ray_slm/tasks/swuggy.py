"""sWUGGY-style pairs: a word of the training corpus and a pseudo-word made in its image.

As in the benchmark of Nguyen et al. (2020), pseudo-words come from the Wuggy algorithm and are
neither words nor homophones of words.  Each is the candidate nearest to its word in 3-gram
score, on the side that keeps a letter 3-gram model right about half of the time.
"""

import collections
import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from ray_slm.tasks.ngram import NgramModel, accuracy
from ray_slm.tasks.pseudo_words import PseudoWords, chain_of
from ray_slm.tasks.real_words import (
    Pronounce,
    RealWords,
    blurred,
    flite_pronounce,
    frequent_words,
)
from ray_slm.tasks.task import Items, Pair
from ray_slm.tasks.vocabulary import Training, read_training

_ORDERS = (2, 3, 6)
_MATCHED_ORDER = 3
_LEXICON_ZIPF = 3.0  # the image of rarer entries is no image of English
_WORD_ZIPF = 1.5  # below it, mostly misprints and foreign words
_MIN_RUNS = 3
_MAX_LEAD = 10  # beyond it, only candidates on the side that is due


class Found(NamedTuple):
    """A word, its pseudo-word and how often the word stands in the training transcripts."""

    word: str
    pseudo_word: str
    tokens: int


class Band(NamedTuple):
    """Counts in the half-open interval [low, high); ``high`` None means no end."""

    low: int
    high: int | None

    def __contains__(self, count: object) -> bool:
        return isinstance(count, int) and self.low <= count < (self.high or count + 1)

    def __str__(self) -> str:
        return f"{self.low}-{self.high - 1}" if self.high else f"{self.low}+"


class Maker:
    """Finds pseudo-words one after another; remembers what it used and which side is due."""

    def __init__(
        self, training: Training, pronounce: Pronounce | None, num_candidates: int, seed: int
    ) -> None:
        words = collections.Counter({w: c for w, c in training.counts.items() if w.isalpha()})
        self.models = {order: NgramModel(words.items(), order) for order in _ORDERS}
        self.real = RealWords(words)
        frequent = frequent_words(_LEXICON_ZIPF) & set(self.real.pronounced)
        self.generator = PseudoWords(frequent | words.keys())
        self.pronounce = pronounce
        self.num_candidates, self.seed = num_candidates, seed
        self.used: set[str] = set()
        self.lead = 0  # words that beat their pseudo-words in 3-gram score, minus the others
        self.num_homophones = 0
        self.num_unequal = 0

    def pseudo_word(self, word: str) -> str | None:
        """The pseudo-word of a word, or None when every candidate fails."""
        model = self.models[_MATCHED_ORDER]
        own = model.score(word)
        margins = {c: own - model.score(c) for c in self._candidates(word)}
        due = [c for c, margin in margins.items() if (margin > 0) == (self.lead < 0)]
        others = [c for c in margins if c not in due] if abs(self.lead) < _MAX_LEAD else []
        for group in (due, others):
            for candidate in sorted(group, key=lambda c: (abs(margins[c]), c)):
                if self._is_sound(word, candidate):
                    self.used.add(candidate)
                    self.lead += 1 if margins[candidate] > 0 else -1
                    return candidate
        return None

    def _candidates(self, word: str) -> list[str]:
        found: list[str] = []
        for ring in self.generator.rings(word, str(self.seed)):
            found += [c for c in ring if c not in self.used and not self.real.is_spelled(c)]
            if len(found) >= self.num_candidates:
                break
        return found[: self.num_candidates]

    def _is_sound(self, word: str, candidate: str) -> bool:
        """No homophone of a word, and as long as its own word within one phone."""
        if self.pronounce is None:
            return True
        own, phones = self.pronounce(word), self.pronounce(candidate)
        if self.real.is_heard(phones) or blurred(phones) == blurred(own):
            self.num_homophones += 1
            return False
        if abs(len(phones) - len(own)) > 1:
            self.num_unequal += 1
            return False
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swuggy:
    """The task.  Counts are tokens in the training transcripts, whatever their case.

    ``band_edges`` are the lower ends of half-open frequency bands, ``band_shares`` the share of
    pairs each should have; what a band lacks is taken from the others in proportion.
    """

    REVISION: ClassVar[int] = 1

    name: str = "swuggy"
    title: str = "sWUGGY-style"
    num_pairs: int = 300
    min_count: int = 1
    max_count: int | None = None
    min_letters: int = 4
    max_letters: int = 11
    band_edges: tuple[int, ...] = (1, 5, 20, 100)
    band_shares: tuple[float, ...] = (0.3, 0.3, 0.25, 0.15)
    num_candidates: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.band_edges) != len(self.band_shares) or list(self.band_edges) != sorted(
            set(self.band_edges)
        ):
            raise ValueError(
                f"{self.name}: band_edges {self.band_edges} must rise and be as many as "
                f"band_shares {self.band_shares}"
            )

    def items(self, corpus: Path) -> Items:
        """Pairs of lone lower-case words; ValueError when the corpus has too few words."""
        training = read_training(corpus)
        maker = Maker(training, flite_pronounce(), self.num_candidates, self.seed)
        found = self._find(training, maker)
        if len(found) < self.num_pairs:
            raise ValueError(
                f"{corpus}: {self.name} found {len(found)} of {self.num_pairs} word pairs; prepare "
                "a larger corpus, lower num_pairs or widen min_count, max_count or the letters"
            )
        pairs = [(f.word, f.pseudo_word) for f in found]
        remarks = {
            "accuracy of baselines": {
                f"letter {order}-gram": round(accuracy(model, pairs), 4)
                for order, model in maker.models.items()
            },
            "homophones filtered": maker.pronounce is not None,
            "homophones dropped": maker.num_homophones,
            "dropped for their length in phones": maker.num_unequal,
        }
        return Items(tuple(self._named(found)), dict(remarks))

    def _bands(self) -> list[Band]:
        return [
            Band(low, high)
            for low, high in zip(self.band_edges, (*self.band_edges[1:], None), strict=True)
        ]

    def _find(self, training: Training, maker: Maker) -> list[Found]:
        """Word by word from the band that is furthest behind its share, until there are enough."""
        words = self._words(training, maker.real)
        shares = {b: s for b, s in zip(self._bands(), self.band_shares, strict=True) if s > 0}
        queues = {b: iter([w for w in words if training.counts[w] in b]) for b in shares}
        taken = dict.fromkeys(shares, 0)
        found: list[Found] = []
        while queues and len(found) < self.num_pairs:
            band = min(queues, key=lambda b: (taken[b] / shares[b], b.low))
            word = next(queues[band], None)
            if word is None:
                del queues[band]
                continue
            pseudo_word = maker.pseudo_word(word)
            if pseudo_word is not None:
                taken[band] += 1
                found.append(Found(word, pseudo_word, training.counts[word]))
        return found

    def _words(self, training: Training, real: RealWords) -> list[str]:
        """Words fit for a pair in a seeded order: pronounced, plain, no names."""
        frequent = frequent_words(_WORD_ZIPF)
        counts = training.counts
        fit = sorted(
            word
            for word in counts
            if self.min_letters <= len(word) <= self.max_letters
            and self.min_count <= counts[word] < (self.max_count or counts[word] + 1)
            and word in frequent
            and word in real.pronounced
            and 2 * training.uncapitalized[word] > counts[word]
            and len(chain_of(word)) >= _MIN_RUNS
        )
        random.Random(f"{self.seed}/words").shuffle(fit)
        return fit

    def _named(self, found: Sequence[Found]) -> Iterator[Pair]:
        for number, (word, pseudo_word, tokens) in enumerate(found, start=1):
            band = next((str(band) for band in self._bands() if tokens in band), "")
            yield Pair(
                id=f"{self.name}-{number:04d}-{word}",
                type="lexical",
                subtype=f"count {band}",
                cluster=word,
                positive=word,
                negative=pseudo_word,
                band=band,
            )


TASK = Swuggy()
