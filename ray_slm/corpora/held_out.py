"""Consecutive sentences of books that nobody trains on: what story tasks are made of.

Every corpus writes them in one form, ``held_out.jsonl``: book, index, paragraph and text, where
neighboring sentences of a book have neighboring indices, and a gap in the text is one in these.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ray_slm import parquet
from ray_slm.corpora.novels import split_sentences
from ray_slm.corpora.utterance import num_shards, shard_path

HELD_OUT = "held_out.jsonl"


class Sentence(NamedTuple):
    """A sentence and its place: ``number`` and ``paragraph`` count from the book's beginning."""

    book: str
    number: int
    paragraph: int
    text: str


class Held(NamedTuple):
    """An utterance that nobody trains on."""

    id: str
    book: str
    transcript: str
    audio: str
    start: int
    num_samples: int


class Passage(NamedTuple):
    """A stretch of a book's text; ``follows`` says that nothing lies between it and the last."""

    book: str
    text: str
    follows: bool


def sentences_of(passages: Iterable[Passage]) -> list[Sentence]:
    """The whole sentences of passages in reading order; paragraphs are unknown and all 0.

    A passage that begins or ends in mid-sentence loses that piece, and so does the run of
    sentences it belongs to.
    """
    found: list[Sentence] = []
    book, number = "", 0
    for passage in passages:
        if passage.book != book:
            book, number = passage.book, 0
        elif not passage.follows:
            number += 1
        for text in split_sentences(passage.text):
            if text[-1] in ".?!\"')]" and not text[0].islower():
                found.append(Sentence(book, number, 0, text))
            number += 1
    return found


def held_out_passages(
    folder: Path, order: Callable[[Held], Any], follows: Callable[[Held, Held], bool]
) -> Iterator[Passage]:
    """The utterances of prepared shards whose book no training utterance is from.

    ``order`` is their order within a book; ``follows`` whether one continues the one before.
    """
    tables = [shard_path(folder, shard) for shard in range(num_shards(folder))]
    trained: set[str] = set()
    held: list[Held] = []
    for path in tables:
        for row in parquet.read_table(path, ["split", *Held._fields]).to_pylist():
            if row.pop("split") == "train":
                trained.add(row["book"])
            else:
                held.append(Held(**row))
    before = None
    for each in sorted(held, key=lambda one: (one.book, order(one))):
        if each.book not in trained:
            continues = before is not None and before.book == each.book and follows(before, each)
            yield Passage(each.book, each.transcript, continues)
            before = each


def trained_on(folder: Path, column: str) -> list[str]:
    """Values of a column (audio, book, speaker) that training and other splits share, sorted."""
    values: dict[bool, set[str]] = {True: set(), False: set()}
    for shard in range(num_shards(folder)):
        table = parquet.read_table(shard_path(folder, shard), ["split", column])
        for split, value in zip(
            *(table[name].to_pylist() for name in ("split", column)), strict=True
        ):
            values[split == "train"].add(value)
    return sorted(values[True] & values[False])


def write_held_out(folder: Path, sentences: Iterable[Sentence]) -> None:
    """Write ``held_out.jsonl``, in the order given."""
    path = folder / HELD_OUT
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with draft.open("w") as file:
        file.writelines(_line(sentence) for sentence in sentences)
    draft.replace(path)


def _line(sentence: Sentence) -> str:
    book, number, paragraph, text = sentence
    row = {"book": book, "index": number, "paragraph": paragraph, "text": text}
    return json.dumps(row) + "\n"
