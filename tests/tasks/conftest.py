"""A small but real prepared corpus: sentences of the novels, with phones that nothing reads."""

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ray_slm.corpora.assets import locate
from ray_slm.corpora.novels import BOOKS, read_novel
from ray_slm.corpora.text import clean_text, num_replaced
from ray_slm.corpora.utterance import Utterance, shard_of, write_utterances
from ray_slm.tasks.discovery import discover
from ray_slm.tasks.task import Items
from ray_slm.tasks.vocabulary import Training, read_training

HELD_OUT = {"northanger-abbey": "dev", "persuasion": "test"}
NUM_TRAIN = 3000
NUM_SHARDS = 2
Row = tuple[str, int, str]  # book, number of the sentence, sentence


def utterance(book: str, index: int, text: str) -> Utterance:
    return Utterance(
        id=f"{book}-{index:06d}",
        split=HELD_OUT.get(book, "train"),
        speaker="rms",
        book=book,
        transcript=text,
        audio="audio/shard-00000.wav",
        start=0,
        num_samples=16_000,
        phones=("SIL",),
        ends=(16_000,),
        aligned_by="nothing",
    )


def write_rows(folder: Path, rows: list[Row]) -> Path:
    utterances = [utterance(*row) for row in rows]
    for shard in range(NUM_SHARDS):
        own = [u for u in utterances if shard_of(u.id, NUM_SHARDS) == shard]
        write_utterances(folder, shard, own)
    return folder


@pytest.fixture(scope="session")
def corpus(places, tmp_path_factory) -> Path:
    """About five hours of training text, and every sentence of two other books."""
    novels = locate(places, "novels")
    train, held_out = [], []
    for book in BOOKS:
        for index, sentence in enumerate(read_novel(novels, book)):
            row = (book, index, clean_text(sentence))
            if book in HELD_OUT:
                held_out.append(row)
            elif 3 <= len(sentence.split()) <= 30 and not num_replaced(sentence):
                train.append(row)
    random.Random(0).shuffle(train)
    folder = write_rows(tmp_path_factory.mktemp("corpus"), train[:NUM_TRAIN] + held_out[:100])
    lines = [json.dumps({"book": b, "index": i, "text": t}) + "\n" for b, i, t in held_out]
    (folder / "held_out.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def write_corpus() -> Callable[[Path, list[Row]], Path]:
    return write_rows


@pytest.fixture(scope="session")
def held_out_books() -> frozenset[str]:
    return frozenset(HELD_OUT)


@pytest.fixture(scope="session")
def made_by(corpus) -> Callable[[str], Items]:
    """The items of a task by its name, made once."""
    tasks = discover()
    return functools.cache(lambda name: tasks[name].items(corpus))


@pytest.fixture(scope="session")
def training(corpus) -> Training:
    return read_training(corpus)
