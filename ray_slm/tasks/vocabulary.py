"""The words of a prepared corpus's training transcripts, which every made task draws upon.

Items must test what a model could have learned, so words come from training text alone; the
split is by novel, and this is the one place where the tasks read it.
"""

import collections
import re
from pathlib import Path
from typing import NamedTuple

from ray_slm.corpora.utterance import read_utterances

WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")


class Training(NamedTuple):
    """What the training transcripts say: sentences of lower-cased words, and their counts."""

    sentences: tuple[tuple[str, ...], ...]
    counts: collections.Counter[str]
    uncapitalized: collections.Counter[str]  # tokens in lower case: names have almost none
    books: frozenset[str]


def words_of(text: str) -> list[str]:
    """Lower-cased words of a transcript; inner apostrophes belong to the word."""
    return [word.lower() for word in WORD.findall(text)]


def read_training(corpus: Path) -> Training:
    """Read the split "train" of a prepared corpus folder.

    Raises ValueError when the folder has no training utterance.
    """
    utterances = sorted(read_utterances(corpus, ["train"]), key=lambda u: u.id)
    if not utterances:
        raise ValueError(
            f"{corpus} has no utterance of the split 'train'; prepare the corpus before its tasks"
        )
    uncapitalized: collections.Counter[str] = collections.Counter()
    for utterance in utterances:
        uncapitalized.update(w for w in WORD.findall(utterance.transcript) if w.islower())
    sentences = tuple(tuple(words_of(utterance.transcript)) for utterance in utterances)
    return Training(
        sentences=sentences,
        counts=collections.Counter(word for sentence in sentences for word in sentence),
        uncapitalized=uncapitalized,
        books=frozenset(utterance.book for utterance in utterances),
    )
