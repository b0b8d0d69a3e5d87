"""Pseudo-words by the Wuggy algorithm (Keuleers and Brysbaert 2010), over letter-run segments.

A word is a chain of vowel and consonant runs.  Transitions between runs are counted by type and
by position; a candidate swaps a third of the runs for others of equal length whose transitions
are about as frequent, searched in rings of +-2, +-4, +-8 ... around the word's own counts.
"""

import collections
import random
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_RUN = re.compile(r"[aeiouy]+|[^aeiouy]+")
_MAX_RING = 12
_MAX_PATHS = 2_000  # per ring: a wide ring of a long word has millions

Chain = tuple[str, ...]


class Slot(NamedTuple):
    """A transition's place: how many runs the word has, and which of them comes second."""

    num_runs: int
    position: int


class _Partial(NamedTuple):
    """The beginning of a candidate."""

    text: str
    last: str
    depth: int
    changed: int


def chain_of(word: str) -> Chain:
    """The vowel and consonant runs of a word, e.g. ("c", "o", "tt", "a", "g", "e")."""
    return tuple(_RUN.findall(word))


def num_changed(num_runs: int) -> int:
    """How many runs a pseudo-word changes: it shares two thirds, and never all."""
    return max(1, num_runs - round(2 * num_runs / 3))


class PseudoWords:
    """Pseudo-word candidates in the image of a lexicon's words."""

    def __init__(self, lexicon: Iterable[str]) -> None:
        self._counts: collections.Counter[tuple[Slot, str, str]] = collections.Counter()
        successors: dict[tuple[Slot, str], set[str]] = collections.defaultdict(set)
        for word in set(lexicon):
            chain = ("", *chain_of(word), "")
            for i in range(1, len(chain)):
                slot = Slot(len(chain) - 2, i)
                self._counts[slot, chain[i - 1], chain[i]] += 1
                successors[slot, chain[i - 1]].add(chain[i])
        self._successors = {key: sorted(runs) for key, runs in successors.items()}

    def rings(self, word: str, seed: str) -> Iterator[list[str]]:
        """Candidates of ever wider rings, each candidate once, in a seeded order within a ring."""
        seen = {word}
        chain = chain_of(word)
        dice = random.Random(f"{seed}/{word}")
        for ring in range(1, _MAX_RING + 1):
            lattice = self._lattice(chain, 2**ring)
            found = [path for path in _paths(lattice, chain, dice) if path not in seen]
            seen.update(found)
            yield dice.sample(found, len(found))

    def _lattice(self, chain: Chain, tolerance: int) -> list[dict[str, list[str]]]:
        """Per position, the successors allowed after each run; dead ends are pruned."""
        ends = ("", *chain, "")
        layers: list[dict[str, list[str]]] = []
        reached = {""}
        for i in range(1, len(ends)):
            slot = Slot(len(chain), i)
            wanted = self._counts[slot, ends[i - 1], ends[i]]
            layer = {}
            for left in sorted(reached):
                layer[left] = [
                    run
                    for run in self._successors.get((slot, left), ())
                    if len(run) == len(ends[i])
                    and abs(self._counts[slot, left, run] - wanted) <= tolerance
                ]
            layers.append(layer)
            reached = {run for runs in layer.values() for run in runs}
        return _without_dead_ends(layers)


def _without_dead_ends(layers: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
    alive = {""}
    for i in range(len(layers) - 1, -1, -1):
        kept = {left: [r for r in runs if r in alive] for left, runs in layers[i].items()}
        layers[i] = {left: runs for left, runs in kept.items() if runs}
        alive = set(layers[i])
    return layers


def _paths(layers: list[dict[str, list[str]]], chain: Chain, dice: random.Random) -> Iterator[str]:
    """Up to _MAX_PATHS words through the lattice that change exactly a third of the runs."""
    changes = num_changed(len(chain))
    stack = [_Partial("", "", 0, 0)]
    found = 0
    while stack and found < _MAX_PATHS:
        partial = stack.pop()
        after = layers[partial.depth].get(partial.last, [])
        if partial.depth == len(chain):
            if after and partial.changed == changes:
                found += 1
                yield partial.text
            continue
        for run in dice.sample(after, len(after)):
            changed = partial.changed + (run != chain[partial.depth])
            if changed <= changes <= changed + len(chain) - partial.depth - 1:
                stack.append(_Partial(partial.text + run, run, partial.depth + 1, changed))
