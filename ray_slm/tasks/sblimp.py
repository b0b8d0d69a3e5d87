"""sBLIMP-style minimal pairs: an explicit grammar over the corpus's training vocabulary.

Paradigms as in BLiMP (Warstadt et al. 2020), words from the training transcripts.  Pairs are
chosen so that a word bigram is right about as often as wrong wherever a template allows it.
"""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from ray_slm.tasks.grammar import Grammar, Minimal, Paradigm, expand, load_grammar, shortages
from ray_slm.tasks.ngram import NgramModel, accuracy, preference
from ray_slm.tasks.task import Items, Pair
from ray_slm.tasks.vocabulary import read_training, words_of

_MAX_REASONS = 8  # in a message
_POOL = 6  # candidates looked at for one pair kept


def share(total: int, parts: int) -> list[int]:
    """``total`` divided into ``parts`` whole numbers that differ by 1 at most, larger first."""
    return [total // parts + (i < total % parts) for i in range(parts)]


def balance(candidates: Sequence[Minimal], model: NgramModel, wanted: int) -> list[Minimal]:
    """``wanted`` candidates, in turn one the model gets right and one it does not, if any are."""
    sides: dict[bool, list[Minimal]] = {True: [], False: []}
    for pair in candidates:
        right = preference(model, words_of(pair.good), words_of(pair.bad)) > 0.5
        sides[right].append(pair)
    kept: list[Minimal] = []
    turn = len(candidates[0].good) % 2 == 0  # a coin, so that odd numbers do not lean one way
    while len(kept) < wanted and (sides[True] or sides[False]):
        kept.append((sides[turn] or sides[not turn]).pop(0))
        turn = not turn
    return kept


def baselines(pairs: Sequence[Pair], models: dict[str, NgramModel]) -> dict[str, dict[str, float]]:
    """Accuracy of each word n-gram per phenomenon and over "all" pairs."""
    groups: dict[str, list[tuple[list[str], list[str]]]] = collections.defaultdict(list)
    for pair in pairs:
        sides = (words_of(pair.positive), words_of(pair.negative))
        groups[pair.type].append(sides)
        groups["all"].append(sides)
    return {
        name: {group: round(accuracy(model, sides), 4) for group, sides in sorted(groups.items())}
        for name, model in models.items()
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sblimp:
    """The task.  ``min_count`` is in training transcripts; ``min_words`` is per slot."""

    REVISION: ClassVar[int] = 1

    name: str = "sblimp"
    title: str = "sBLIMP-style"
    num_pairs_per_phenomenon: int = 25
    min_count: int = 2
    min_words: int = 3
    min_phenomena: int = 12
    seed: int = 0
    grammar_sha256: str = "32dcd85321be"

    def items(self, corpus: Path) -> Items:
        """Pairs whose every word occurs ``min_count`` times in the training transcripts.

        A paradigm the vocabulary is too small for is left out and named in the remarks; ValueError
        when fewer than ``min_phenomena`` phenomena remain, or on another grammar file.
        """
        grammar = self._grammar()
        training = read_training(corpus)
        vocabulary = {word for word, count in training.counts.items() if count >= self.min_count}
        lacks = {p.subtype: self._lacks(p, grammar, vocabulary) for p in grammar.paradigms}
        left_out = {subtype: reasons for subtype, reasons in lacks.items() if reasons}
        models = {
            f"word {order}-gram": NgramModel(((s, 1) for s in training.sentences), order)
            for order in (1, 2)
        }
        pairs: list[Pair] = []
        for paradigms in self._supported(grammar, left_out, corpus):
            numbers = share(self.num_pairs_per_phenomenon, len(paradigms))
            for paradigm, number in zip(paradigms, numbers, strict=True):
                chosen = self._choose(paradigm, grammar, vocabulary, models["word 2-gram"], number)
                pairs += _named(paradigm, chosen)
        remarks = {"accuracy of baselines": baselines(pairs, models), "left out": left_out}
        return Items(tuple(pairs), dict(remarks))

    def _grammar(self) -> Grammar:
        grammar = load_grammar()
        if grammar.sha256[:12] != self.grammar_sha256:
            raise ValueError(
                f"grammar.toml has sha256 {grammar.sha256[:12]}, but {self.name} is pinned to "
                f"{self.grammar_sha256}; if the change is wanted, put the new digest into sblimp.py"
            )
        return grammar

    def _lacks(self, paradigm: Paradigm, grammar: Grammar, vocabulary: set[str]) -> list[str]:
        found = (shortages(t, grammar, vocabulary, self.min_words) for t in paradigm.templates)
        return sorted({reason for reasons in found for reason in reasons})

    def _supported(
        self, grammar: Grammar, left_out: dict[str, list[str]], corpus: Path
    ) -> list[list[Paradigm]]:
        """Per phenomenon, the paradigms that are not left out."""
        kept: dict[str, list[Paradigm]] = collections.defaultdict(list)
        for paradigm in grammar.paradigms:
            if paradigm.subtype not in left_out:
                kept[paradigm.type].append(paradigm)
        if len(kept) < self.min_phenomena:
            reasons = collections.Counter(r for found in left_out.values() for r in found)
            raise ValueError(
                f"{corpus}: the training vocabulary supports {len(kept)} of the "
                f"{self.min_phenomena} phenomena that min_phenomena asks of {self.name}; prepare "
                f"a larger corpus or lower min_count={self.min_count}, min_words={self.min_words} "
                "or min_phenomena; mostly, "
                + ", ".join(reason for reason, _ in reasons.most_common(_MAX_REASONS))
            )
        return list(kept.values())

    def _choose(
        self,
        paradigm: Paradigm,
        grammar: Grammar,
        vocabulary: set[str],
        bigram: NgramModel,
        wanted: int,
    ) -> list[Minimal]:
        """Pairs of one paradigm, spread over its templates."""
        chosen: list[Minimal] = []
        for i, number in enumerate(share(wanted, len(paradigm.templates))):
            if number:
                seed = f"{self.seed}/{paradigm.subtype}/{i}"
                pool = list(
                    expand(paradigm.templates[i], grammar, vocabulary, _POOL * number, seed)
                )
                chosen += balance(pool, bigram, number) if pool else []
        if len(chosen) < wanted:
            raise ValueError(
                f"{paradigm.subtype} makes {len(chosen)} distinct pairs of the {wanted} wanted; "
                "prepare a larger corpus or lower num_pairs_per_phenomenon"
            )
        return chosen


def _named(paradigm: Paradigm, chosen: Sequence[Minimal]) -> list[Pair]:
    return [
        Pair(
            id=f"sblimp-{paradigm.subtype}-{number:03d}",
            type=paradigm.type,
            subtype=paradigm.subtype,
            cluster=paradigm.subtype,
            positive=minimal.good,
            negative=minimal.bad,
        )
        for number, minimal in enumerate(chosen, start=1)
    ]


TASK = Sblimp()
