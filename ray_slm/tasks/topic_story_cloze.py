"""Topic-StoryCloze-style pairs: four sentences of a held-out novel and a true or foreign ending.

After Hassid et al. (2023), whose foreign endings come from other stories.  Here a foreign ending is
the true ending of another book's story, so that each sentence is right once and wrong once and
no ending can be judged by itself.
"""

import collections
import dataclasses
import json
import random
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from ray_slm.tasks.ngram import NgramModel, accuracy
from ray_slm.tasks.task import Items, Pair
from ray_slm.tasks.vocabulary import Training, read_training, words_of

HELD_OUT = "held_out.jsonl"
_LENGTH = 5
# Marks that come in pairs: half a pair would betray a foreign ending, and to text models alone.
_PAIRED = re.compile(r"[\"()\[\]<>]|(?<![A-Za-z])'|'(?![A-Za-z])")
# A mark after a space or a lone consonant: a word was struck out there in print.
_STRUCK_OUT = re.compile(r"\s[.,;:?!]|(?<![A-Za-z'])[b-hj-np-zB-HJ-NP-Z](?![A-Za-z'])")
_WHOLE = re.compile(r".*[.?!]")
_SAME_BOOK, _SPARE = 1e6, 1e3  # costs no difference in length can reach


class Sentence(NamedTuple):
    """One sentence of a held-out book; ``number`` counts the book's sentences in order."""

    book: str
    number: int
    paragraph: int
    text: str


class Story(NamedTuple):
    """Consecutive sentences of one book, the last of which is the true ending."""

    sentences: tuple[Sentence, ...]

    @property
    def book(self) -> str:
        """The book it is from."""
        return self.sentences[0].book

    @property
    def ending(self) -> str:
        """The true ending."""
        return self.sentences[-1].text

    @property
    def num_paragraphs(self) -> int:
        """How many paragraphs it touches."""
        return len({sentence.paragraph for sentence in self.sentences})

    def told(self, ending: str) -> str:
        """The first sentences followed by ``ending``."""
        return " ".join([*(sentence.text for sentence in self.sentences[:-1]), ending])


def read_held_out(corpus: Path, training: Training) -> list[Sentence]:
    """Consecutive sentences of the dev and test books, in order; paragraphs may be unknown.

    Raises ValueError when the file is missing or malformed, or a book was trained on.
    """
    path = corpus / HELD_OUT
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: this task needs consecutive sentences of held-out books; use a "
            "corpus that writes them, or leave the task out of the study"
        )
    sentences = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if not {"book", "index", "text"} <= row.keys():
            raise ValueError(f"{path}:{number} needs book, index and text, but has {sorted(row)}")
        paragraph = row.get("paragraph", 0)
        sentences.append(Sentence(row["book"], row["index"], paragraph, unpaired(row["text"])))
    trained = sorted({s.book for s in sentences} & training.books)
    if trained:
        raise ValueError(f"{path} holds sentences of the training books {trained}; remove them")
    return sorted(sentences)


def unpaired(text: str) -> str:
    """``text`` without quotation marks and brackets."""
    return " ".join(_PAIRED.sub("", text).split())


def stories(
    sentences: Sequence[Sentence], min_words: int, max_words: int, max_story_words: int
) -> list[Story]:
    """Every run of five neighboring sentences of such lengths in one or adjoining paragraphs."""
    found = []
    for i in range(len(sentences) - _LENGTH + 1):
        run = tuple(sentences[i : i + _LENGTH])
        lengths = [len(s.text.split()) for s in run]
        steps = [(b.number - a.number, b.paragraph - a.paragraph) for a, b in pairwise(run)]
        if (
            len({s.book for s in run}) == 1
            and all(number == 1 and paragraph in (0, 1) for number, paragraph in steps)
            and all(min_words <= length <= max_words for length in lengths)
            and sum(lengths) <= max_story_words
            and not any(_STRUCK_OUT.search(s.text) for s in run)
            and all(_WHOLE.fullmatch(s.text) for s in run)
        ):
            found.append(Story(run))
    return found


def choose(candidates: Sequence[Story], wanted: int, seed: int) -> list[Story]:
    """``wanted`` stories without a common sentence, of few paragraphs, of every book in turn."""
    dice = random.Random(f"{seed}/stories")
    queues: dict[str, list[Story]] = collections.defaultdict(list)
    for story in dice.sample(candidates, len(candidates)):
        queues[story.book].append(story)
    for book, queue in sorted(queues.items()):
        queues[book] = _disjoint(sorted(queue, key=lambda story: story.num_paragraphs))
    chosen = []
    for turn in range(wanted):
        chosen += [queues[book][turn] for book in sorted(queues) if turn < len(queues[book])]
    return chosen[:wanted]


def _disjoint(queue: Sequence[Story]) -> list[Story]:
    taken: set[int] = set()
    kept = []
    for story in queue:
        numbers = {sentence.number for sentence in story.sentences}
        if not numbers & taken:
            taken |= numbers
            kept.append(story)
    return kept


def foreign_endings(chosen: Sequence[Story], spare: Sequence[Story], seed: int) -> list[str]:
    """For each story another book's ending of about its own ending's length, each once.

    They are the chosen stories' own endings; ``spare`` stories help when the books' shares of
    ``chosen`` differ.  Raises ValueError when there are too few from other books.
    """
    from scipy.optimize import linear_sum_assignment

    lenders = [*chosen, *spare]
    own, lent = (
        np.array([len(story.ending.split()) for story in group], dtype=float)
        for group in (chosen, lenders)
    )
    same = np.array([[a.book == b.book for b in lenders] for a in chosen])
    is_spare = np.arange(len(lenders)) >= len(chosen)
    chance = np.random.default_rng(seed).random(same.shape) / 10
    cost = (own[:, None] - lent) ** 2 + _SAME_BOOK * same + _SPARE * is_spare + chance
    rows, columns = linear_sum_assignment(cost)
    if same[rows, columns].any():
        books = dict(collections.Counter(story.book for story in chosen))
        raise ValueError(
            f"stories by book are {books}: there are too few endings from other books; hold out "
            "more books or lower num_pairs"
        )
    return [lenders[int(column)].ending for column in columns]


def shared_words(story: Story, ending: str, common: frozenset[str]) -> int:
    """How many different words an ending repeats of its story, common ones aside."""
    told = set(words_of(story.told(""))) - common
    return len(told & set(words_of(ending)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopicStoryCloze:
    """The task.  Sentences have ``min_words`` to ``max_words`` words; 60 words last 20 s."""

    REVISION: ClassVar[int] = 1

    name: str = "topic-storycloze"
    title: str = "Topic-StoryCloze-style"
    num_pairs: int = 80
    min_words: int = 4
    max_words: int = 18
    max_story_words: int = 60
    seed: int = 0

    def items(self, corpus: Path) -> Items:
        """Stories of the held-out books; ValueError when there are too few."""
        training = read_training(corpus)
        sentences = read_held_out(corpus, training)
        candidates = stories(sentences, self.min_words, self.max_words, self.max_story_words)
        books = {story.book for story in candidates}
        wanted = self.num_pairs + (-self.num_pairs % max(1, len(books)))  # as many of each book
        lenders = choose(candidates, wanted, self.seed)
        chosen, spare = lenders[: self.num_pairs], lenders[self.num_pairs :]
        if len(chosen) < self.num_pairs or len(books) < 2:
            raise ValueError(
                f"{corpus / HELD_OUT}: {len(chosen)} stories of {len(books)} books, but "
                f"{self.name} needs {self.num_pairs} of 2 or more; hold out more books, lower "
                f"num_pairs or widen min_words={self.min_words}..max_words={self.max_words}"
            )
        foreign = foreign_endings(chosen, spare, self.seed)
        pairs = tuple(
            Pair(
                id=f"tsc-{number:04d}",
                type="topic",
                subtype=story.book,
                cluster=f"tsc-{number:04d}",
                positive=story.told(story.ending),
                negative=story.told(ending),
            )
            for number, (story, ending) in enumerate(zip(chosen, foreign, strict=True), start=1)
        )
        return Items(pairs, _remarks(chosen, foreign, training))


def _remarks(
    chosen: Sequence[Story], foreign: Sequence[str], training: Training
) -> dict[str, object]:
    common = frozenset(word for word, _ in training.counts.most_common(200))
    margins = [
        shared_words(story, story.ending, common) - shared_words(story, ending, common)
        for story, ending in zip(chosen, foreign, strict=True)
    ]
    bigram = NgramModel(((sentence, 1) for sentence in training.sentences), 2)
    sides = [
        (words_of(s.told(s.ending)), words_of(s.told(e)))
        for s, e in zip(chosen, foreign, strict=True)
    ]
    differences = [
        len(e.split()) - len(s.ending.split()) for s, e in zip(chosen, foreign, strict=True)
    ]
    known = any(sentence.paragraph for story in chosen for sentence in story.sentences)
    return {
        "accuracy of baselines": {
            "word 2-gram": round(accuracy(bigram, sides), 4),
            "words repeated": sum((m > 0) + 0.5 * (m == 0) for m in margins) / len(margins),
        },
        "largest difference in words": max(abs(d) for d in differences),
        "share within one word": sum(abs(d) <= 1 for d in differences) / len(differences),
        "paragraphs per story": sum(s.num_paragraphs for s in chosen) / len(chosen)
        if known
        else None,
    }


TASK = TopicStoryCloze()
