"""The grammar behind the sBLIMP-style task: ``grammar.toml`` read, checked and expanded.

A template with slots and one or more {good|bad} alternatives becomes sentence pairs over the
words that a vocabulary holds.  The file is data so that a linguist can read and extend it.
"""

import hashlib
import random
import re
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("grammar.toml")
_SLOT = re.compile(r"<(?P<list>[a-z_]+)(?::(?P<index>\d+))?(?:\.(?P<form>[a-z0-9]+))?>")
_ALTERNATIVES = re.compile(r"\{([^{}|]+)\|([^{}|]+)\}")
_BEFORE_VOWEL = re.compile(r"\ba (?=[aeiou]|honest|hour)(?!uni|use|eu|one\b)")
_TRIES_PER_PAIR = 30

Lexeme = tuple[str, ...]


class Minimal(NamedTuple):
    """One minimal pair of sentences."""

    good: str
    bad: str


class WordList(NamedTuple):
    """Lexemes with the names of their forms, e.g. ("s", "p") and ("lady", "ladies")."""

    forms: tuple[str, ...]
    lexemes: tuple[Lexeme, ...]


class Paradigm(NamedTuple):
    """A paradigm (``subtype``) of a phenomenon (``type``) and the templates that balance it."""

    type: str
    subtype: str
    templates: tuple[str, ...]


class Grammar(NamedTuple):
    """Word lists by name, paradigms, and the digest of the file they were read from."""

    lists: dict[str, WordList]
    paradigms: tuple[Paradigm, ...]
    sha256: str


class _Slot(NamedTuple):
    """A lexeme to draw: from which list, and in which forms it is used."""

    list: str
    forms: frozenset[str]


def load_grammar(path: Path = FILE) -> Grammar:
    """Read and check a grammar file.

    Raises ValueError naming the word list or the template that is wrong.
    """
    content = path.read_bytes()
    table = tomllib.loads(content.decode("ascii"))
    lists: dict[str, WordList] = {}
    for name, entry in table["words"].items():
        lists[name] = _word_list(name, entry, lists, path)
    paradigms = tuple(
        Paradigm(entry["type"], entry["subtype"], tuple(entry["templates"]))
        for entry in table["paradigm"]
    )
    for paradigm in paradigms:
        for template in paradigm.templates:
            _check_template(template, lists, path)
    return Grammar(lists, paradigms, hashlib.sha256(content).hexdigest())


def _word_list(
    name: str, entry: dict[str, list[str] | str], lists: dict[str, WordList], path: Path
) -> WordList:
    if "includes" in entry:
        parts = [lists[part] for part in entry["includes"]]
        lexemes = tuple(lexeme for part in parts for lexeme in part.lexemes)
        result = WordList(parts[0].forms, lexemes)
    else:
        words = str(entry["words"]).replace("\n", " / ").split("/")
        lexemes = tuple(tuple(lexeme.split()) for lexeme in words if lexeme.strip())
        result = WordList(tuple(entry["forms"]), lexemes)
    for lexeme in result.lexemes:
        if len(lexeme) != len(result.forms):
            raise ValueError(f"{path}: list {name}: {lexeme} lacks one of forms {result.forms}")
    if len(set(result.lexemes)) != len(result.lexemes):
        raise ValueError(f"{path}: list {name} holds a word twice; remove one of them")
    return result


def _check_template(template: str, lists: dict[str, WordList], path: Path) -> None:
    if not _ALTERNATIVES.search(template):
        raise ValueError(f"{path}: template {template!r} has no {{good|bad}} alternative")
    for slot in _SLOT.finditer(template):
        words = lists.get(slot["list"])
        if words is None or (slot["form"] or words.forms[0]) not in words.forms:
            raise ValueError(f"{path}: template {template!r}: no list or form {slot[0]}")


def _slots(template: str, grammar: Grammar) -> dict[str, _Slot]:
    """Lexemes to draw, by key; a slot without a number has a key of its own."""
    slots: dict[str, _Slot] = {}
    for match in _SLOT.finditer(template):
        forms = {match["form"] or grammar.lists[match["list"]].forms[0]}
        key = _key(match)
        if key in slots:
            forms |= slots[key].forms
        slots[key] = _Slot(match["list"], frozenset(forms))
    return slots


def _key(match: re.Match[str]) -> str:
    return f"{match['list']}:{match['index'] or 'at ' + str(match.start())}"


def shortages(
    template: str, grammar: Grammar, vocabulary: Collection[str], min_words: int
) -> list[str]:
    """Why a template cannot be used over a vocabulary; empty when it can."""
    fixed = re.findall(r"[a-z]+", _SLOT.sub(" ", template))
    missing = sorted({word for word in fixed if word not in vocabulary})
    reasons = [f"the word {word!r} is missing" for word in missing]
    slots = list(_slots(template, grammar).values())
    for slot in slots:
        found = _usable(slot, grammar, vocabulary)
        if len(found) < max(min_words, sum(other.list == slot.list for other in slots)):
            forms = "/".join(sorted(slot.forms))
            reasons.append(f"list {slot.list!r} ({forms}) has {len(found)} words")
    return reasons


def _usable(slot: _Slot, grammar: Grammar, vocabulary: Collection[str]) -> list[Lexeme]:
    words = grammar.lists[slot.list]
    columns = [i for i, form in enumerate(words.forms) if form in slot.forms]
    return [x for x in words.lexemes if all(x[i].lower() in vocabulary for i in columns)]


def expand(
    template: str, grammar: Grammar, vocabulary: Collection[str], wanted: int, seed: str
) -> Iterator[Minimal]:
    """Up to ``wanted`` distinct pairs of a template; no lexeme twice in one sentence."""
    dice = random.Random(seed)
    slots = _slots(template, grammar)
    usable = {key: _usable(slot, grammar, vocabulary) for key, slot in slots.items()}
    seen: set[Minimal] = set()
    for _ in range(wanted * _TRIES_PER_PAIR):
        drawn: dict[str, Lexeme] = {}
        for key, lexemes in usable.items():
            fresh = [x for x in lexemes if all(x[0] != other[0] for other in drawn.values())]
            if fresh:
                drawn[key] = dice.choice(fresh)
        if len(drawn) == len(slots):
            pair = _realize(template, grammar, drawn)
            if pair not in seen:
                seen.add(pair)
                yield pair
        if len(seen) == wanted:
            return


def _realize(template: str, grammar: Grammar, drawn: dict[str, Lexeme]) -> Minimal:
    def word(match: re.Match[str]) -> str:
        forms = grammar.lists[match["list"]].forms
        return drawn[_key(match)][forms.index(match["form"] or forms[0])]

    text = _SLOT.sub(word, template)
    sides = (_ALTERNATIVES.sub(r"\1", text), _ALTERNATIVES.sub(r"\2", text))
    good, bad = (_BEFORE_VOWEL.sub("an ", side) for side in sides)
    pair = Minimal(good[0].upper() + good[1:], bad[0].upper() + bad[1:])
    if len(good.split()) != len(bad.split()) or pair.good == pair.bad:
        raise ValueError(f"template {template!r} makes no minimal pair: {pair}")
    return pair
