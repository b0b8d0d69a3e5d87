"""The laptop corpus: public-domain novels read by synthetic voices, held out by novel.

Everything follows from a sentence's id by hash: whether it is chosen, who reads it, how fast and
how high.  So neither the number of workers nor the order of shards changes a sample.
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from ray_slm.corpora.assets import ASSETS, locate
from ray_slm.corpora.finish import finish
from ray_slm.corpora.held_out import Sentence, write_held_out
from ray_slm.corpora.novels import BOOKS, read_novel, read_paragraphs
from ray_slm.corpora.shard import CANDIDATES, summed_counts
from ray_slm.corpora.synthesis import (
    VOICES_BY_RUNG,
    Line,
    check_voices,
    load_speaker,
    render_shard,
    voice_settings,
)
from ray_slm.corpora.text import clean_text, num_replaced
from ray_slm.corpora.utterance import shard_of

# Least-squares fit to 600 sentences of the four flite voices at stretch 1, within 1 % in sum:
# each character (about 176 words a minute), and the silence around a sentence.
_SECONDS_PER_CHARACTER, _SECONDS_PER_SENTENCE = 0.0575, 0.385


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaptopCorpus:
    """Novels x voices, cut to a length.

    Sentences of ``min_words`` to ``max_words`` words, without numerals or odd symbols, are read.
    ``voice_rung`` names the synthesizer: "flite", or "piper-joe" (voices ``("joe",)``) where
    only pip delivers.  Test books are not read aloud: their sentences are for tasks.
    """

    REVISION: ClassVar[int] = 1

    name: str = "laptop"
    novels_sha256: str = ASSETS[0].sha256
    train_hours: float = 5.0
    dev_minutes: float = 15.0
    voices: tuple[str, ...] = VOICES_BY_RUNG["flite"]
    voice_rung: str = "flite"
    num_shards: int = 16
    train_books: tuple[str, ...] = (
        "emma",
        "mansfield-park",
        "pride-and-prejudice",
        "sense-and-sensibility",
    )
    dev_books: tuple[str, ...] = ("northanger-abbey",)
    test_books: tuple[str, ...] = ("persuasion",)
    min_words: int = 3
    max_words: int = 30
    max_bad_fraction: float = 0.005

    def __post_init__(self) -> None:
        """Refuse what no corpus can be made of."""
        check_voices(self.voice_rung, self.voices)
        books = [*self.train_books, *self.dev_books, *self.test_books]
        if len(set(books)) != len(books) or not set(books) <= set(BOOKS):
            raise ValueError(f"books {books} must be different ones of {sorted(BOOKS)}")
        if not (self.train_hours > 0 and self.dev_minutes > 0 and self.num_shards > 0):
            raise ValueError(
                f"train_hours={self.train_hours}, dev_minutes={self.dev_minutes} and "
                f"num_shards={self.num_shards} must be positive"
            )
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError(f"min_words={self.min_words} must be 1..max_words={self.max_words}")

    @property
    def audio_hours(self) -> float:
        """Of all splits, for plans."""
        return self.train_hours + self.dev_minutes / 60

    @property
    def mean_seconds(self) -> float:
        """Of a sentence read aloud, about: measured over the smoke study's."""
        return 5.0

    def lines(self, places: Mapping[str, Path]) -> list[Line]:
        """What is read, by whom and in which split, ordered by id.  Text only: takes a second."""
        train = self._choose(places, "train", self.train_books, self.train_hours * 3600)
        dev = self._choose(places, "dev", self.dev_books, self.dev_minutes * 60)
        return sorted([*train, *dev], key=lambda line: line.id)

    def sources(self, places: Mapping[str, Path]) -> tuple[str, ...]:
        """None: the novels are read in a second, by every shard."""
        return ()

    def survey(self, source: str, folder: Path, places: Mapping[str, Path]) -> None:
        """Nothing to read beforehand."""
        raise ValueError(f"the laptop corpus has no source {source!r}")

    def settle(self, folder: Path, places: Mapping[str, Path]) -> None:
        """Write the sentences of the held-out books."""
        books = (*self.dev_books, *self.test_books)
        write_held_out(folder, self.held_out_sentences(places, books))

    def prepare_shard(self, shard: int, folder: Path, places: Mapping[str, Path]) -> None:
        """Read the lines of one shard aloud."""
        lines = [x for x in self.lines(places) if shard_of(x.id, self.num_shards) == shard]
        render_shard(lines, folder, shard, load_speaker(self.voice_rung, self.voices, places))

    def finish(self, folder: Path) -> dict[str, object]:
        """Check that every line that went in came out or is in quarantine; write the summary."""
        candidates = summed_counts(folder, self.num_shards)[CANDIDATES]
        return finish(folder, candidates=candidates, max_bad_fraction=self.max_bad_fraction)

    def held_out_sentences(
        self, places: Mapping[str, Path], books: tuple[str, ...]
    ) -> list[Sentence]:
        """Every sentence of ``books``, of any length, in reading order and in the text symbols.

        Raises ValueError when a book is one of the training books.
        """
        seen = sorted(set(books) & set(self.train_books))
        if seen:
            raise ValueError(f"{seen} are training books; use some of the others")
        novels, sentences = self._novels(places), []
        for book in books:
            numbers = itertools.count()
            for at, paragraph in enumerate(read_paragraphs(novels, book)):
                sentences += [Sentence(book, next(numbers), at, clean_text(x)) for x in paragraph]
        return sentences

    def _novels(self, places: Mapping[str, Path]) -> Path:
        path = locate(places, "novels")
        if self.novels_sha256 != ASSETS[0].sha256:
            raise ValueError(
                f"novels_sha256={self.novels_sha256} is not the package this version reads "
                f"({ASSETS[0].sha256}); use that, or the version that reads yours"
            )
        return path

    def _choose(
        self, places: Mapping[str, Path], split: str, books: tuple[str, ...], seconds: float
    ) -> list[Line]:
        """Sentences in the order of their hash until they are estimated to last ``seconds``."""
        chosen: list[Line] = []
        total = 0.0
        for sentence in _by_hash(self._novels(places), books):
            if not self.min_words <= sentence.num_words <= self.max_words:
                continue
            if total >= seconds:
                return chosen
            voice = self.voices[_hash("voice", sentence.id) % len(self.voices)]
            chosen.append(
                Line(
                    id=sentence.id,
                    split=split,
                    speaker=voice,
                    book=sentence.book,
                    text=sentence.text,
                )
            )
            total += sentence.seconds
        if total < seconds:
            raise ValueError(
                f"{', '.join(books)} hold {total / 3600:.2f} h of such sentences, fewer than the "
                f"{seconds / 3600:.2f} h asked for in {split}; ask for less or raise max_words"
            )
        return chosen


class _Candidate(NamedTuple):
    id: str
    book: str
    text: str
    num_words: int
    seconds: float


@functools.cache
def _by_hash(novels: Path, books: tuple[str, ...]) -> tuple[_Candidate, ...]:
    """The sentences of ``books`` in the order of their hashes.

    Left out are those with a symbol that no text symbol stands for, and those with a numeral,
    which has several readings.
    """
    found = []
    for book in books:
        for index, sentence in enumerate(read_novel(novels, book)):
            if num_replaced(sentence) or any(symbol.isdigit() for symbol in sentence):
                continue
            line_id = f"{book}-{index:06d}"
            text = clean_text(sentence)
            seconds = len(text) * _SECONDS_PER_CHARACTER + _SECONDS_PER_SENTENCE
            seconds *= voice_settings(line_id).stretch
            found.append(_Candidate(line_id, book, sentence, len(text.split()), seconds))
    return tuple(sorted(found, key=lambda candidate: _hash("order", candidate.id)))


def _hash(purpose: str, line_id: str) -> int:
    """A number for one purpose; purposes are independent of each other and of the shard."""
    digest = hashlib.sha256(f"{purpose} of {line_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
