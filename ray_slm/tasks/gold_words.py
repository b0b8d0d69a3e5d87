"""Words and non-words of a gold file: the lexical layout of ZeroSpeech 2021 and of BabySLM.

``<level>/<split>/gold.csv`` has filename, id, voice, frequency, word, phones, length, correct
(1 = word); the audio lies beside it.  Pairs join on (id, voice); a word may have several non-words
per voice, told apart by their phones (Nguyen et al. 2020; Lavechin et al. 2023).
"""

import collections
import dataclasses
from pathlib import Path
from typing import ClassVar, NamedTuple

from ray_slm.tasks.items import item_id
from ray_slm.tasks.recorded import (
    RecordedItems,
    Recording,
    Row,
    audio_files,
    digest_of_gold,
    is_word,
    named,
    read_table,
    refuse_doubled,
    slug,
    slugs,
)
from ray_slm.tasks.task import Pair

COLUMNS = ("filename", "id", "voice", "frequency", "word", "phones", "length", "correct")
# Half-open as the official scorer cuts them, whatever its labels say.
BANDS = ((0, "0 (oov)"), (1, "1-4"), (5, "5-19"), (20, "20-99"), (100, "100+"))


class _Side(NamedTuple):
    """One (id, voice): the word, and its non-words by their phones."""

    word: list[Row]
    non_words: dict[str, Row]


def band_of(frequency: str) -> str:
    """The frequency band of a word; an empty cell is out of vocabulary, as official code reads."""
    count = float(frequency or 0)
    return next(label for low, label in reversed(BANDS) if count >= low)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoldWords:
    """The task.  ``several`` allows more than one non-word for a word (BabySLM)."""

    REVISION: ClassVar[int] = 1

    name: str
    title: str
    place: str
    folder: str = "lexical/dev"
    several: bool = False
    digest: str = ""

    def digest_of(self, folder: Path) -> str:
        """Of the gold file, and of the names and sizes of the audio."""
        return digest_of_gold(folder / self.folder)

    def recorded(self, folder: Path) -> RecordedItems:
        """The items of the gold file, joined by key."""
        root = folder / self.folder
        path = root / "gold.csv"
        rows = read_table(path, COLUMNS)
        if not self.several:
            refuse_doubled(str(path), (row["filename"] for row in rows))
        voices = slugs(f"{path}: voices", {row["voice"] for row in rows})
        audio = audio_files(root, [row["filename"] for row in rows])
        by_id = self._by_id(rows, path)
        pairs, recordings, gold = [], [], []
        for key, sides in by_id.items():
            for number, phones in enumerate(next(iter(sides.values())).non_words):
                pair, of_pair = self._pair(key, number, phones, sides)
                pairs.append(pair)
                for side, voice, row in of_pair:
                    name = item_id(pair.id, side, voices[voice])
                    recordings.append(self._recording(name, voices[voice], row, audio))
                    gold.append({"utterance": name, **row})
        refuse_doubled(f"{path}: ids", (pair.id for pair in pairs))
        silent = all(not row["word"] for row in rows if not is_word(row, path))
        remarks = {"rows": len(rows), "voices": sorted(voices), "non-words have text": not silent}
        return RecordedItems(tuple(pairs), tuple(recordings), tuple(gold), remarks)

    def _recording(self, name: str, voice: str, row: Row, audio: dict[str, str]) -> Recording:
        file = audio[row["filename"]]
        return Recording(
            id=name,
            official=row["filename"],
            voice=voice,
            audio=f"{self.folder}/{file}" if file else "",
            text=row["word"],
            phones=tuple(row["phones"].replace("_", " ").split()),
        )

    def _by_id(self, rows: list[dict[str, str]], path: Path) -> dict[str, dict[str, _Side]]:
        """By id and voice; every word has a non-word in each voice, and the same ones."""
        found: dict[str, dict[str, _Side]] = collections.defaultdict(dict)
        for row in rows:
            side = found[row["id"]].setdefault(row["voice"], _Side([], {}))
            if is_word(row, path):
                side.word.append(row)
                continue
            key = row["phones"] or row["word"] or row["filename"] if self.several else "only"
            if key in side.non_words:
                other = side.non_words[key]["filename"]
                raise ValueError(f"{path}: two non-words of one id: {other}, {row['filename']}")
            side.non_words[key] = row
        alone = [
            f"id {key} in voice {voice}"
            for key, sides in found.items()
            for voice, side in sides.items()
            if len(side.word) != 1
            or not side.non_words
            or side.non_words.keys() != next(iter(sides.values())).non_words.keys()
        ]
        if alone:
            raise ValueError(f"{path}: no single word and non-word to be paired: {named(alone)}")
        return found

    def _pair(
        self, key: str, number: int, phones: str, sides: dict[str, _Side]
    ) -> tuple[Pair, list[tuple[str, str, Row]]]:
        """The pair, and (side, voice, row) of each of its recordings."""
        first = next(iter(sides.values()))
        word, non_word = first.word[0], first.non_words[phones]
        band = band_of(word["frequency"])
        pair = Pair(
            id="-".join([self.name, slug(key), *([str(number)] if self.several else [])]),
            type="lexical",
            subtype=f"frequency {band}",
            cluster=word["word"] or word["phones"],
            positive=word["word"] or word["phones"],
            negative=non_word["word"] or non_word["phones"],
            band=band,
        )
        rows = [
            (name, voice, row)
            for voice, side in sides.items()
            for name, row in (("positive", side.word[0]), ("negative", side.non_words[phones]))
        ]
        return pair, rows
