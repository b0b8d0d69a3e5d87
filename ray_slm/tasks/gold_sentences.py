"""Grammatical and ungrammatical sentences of a gold file: the syntactic layout of ZeroSpeech 2021.

``<level>/<split>/gold.csv`` has filename, id, voice, type, subtype, transcription, correct; pairs
join on (type, subtype, id, voice).  BabySLM uses the same layout.
"""

import collections
import dataclasses
from pathlib import Path
from typing import ClassVar

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

COLUMNS = ("filename", "id", "voice", "type", "subtype", "transcription", "correct")
Key = tuple[str, str, str]  # type, subtype, id


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoldSentences:
    """The task."""

    REVISION: ClassVar[int] = 1

    name: str
    title: str
    place: str
    folder: str = "syntactic/dev"
    digest: str = ""

    def digest_of(self, folder: Path) -> str:
        """Of the gold file, and of the names and sizes of the audio."""
        return digest_of_gold(folder / self.folder)

    def recorded(self, folder: Path) -> RecordedItems:
        """The items of the gold file, joined by key."""
        root = folder / self.folder
        path = root / "gold.csv"
        rows = read_table(path, COLUMNS)
        refuse_doubled(str(path), (row["filename"] for row in rows))
        voices = slugs(f"{path}: voices", {row["voice"] for row in rows})
        audio = audio_files(root, [row["filename"] for row in rows])
        pairs, recordings, gold = [], [], []
        for key, sides in _by_key(rows, path).items():
            pair = self._pair(key, sides)
            pairs.append(pair)
            for (voice, side), row in sides.items():
                name = item_id(pair.id, side, voices[voice])
                file = audio[row["filename"]]
                where = f"{self.folder}/{file}" if file else ""
                recordings.append(
                    Recording(name, row["filename"], voices[voice], where, row["transcription"], ())
                )
                gold.append({"utterance": name, **row})
        refuse_doubled(f"{path}: ids", (pair.id for pair in pairs))
        remarks = {"rows": len(rows), "voices": sorted(voices)}
        return RecordedItems(tuple(pairs), tuple(recordings), tuple(gold), remarks)

    def _pair(self, key: Key, sides: dict[tuple[str, str], Row]) -> Pair:
        kind, subtype, number = key
        texts = {side: row["transcription"] for (_, side), row in sides.items()}
        return Pair(
            id="-".join([self.name, slug(kind), slug(subtype), slug(number)]),
            type=kind,
            subtype=subtype,
            cluster=f"{kind}/{subtype}",
            positive=texts["positive"],
            negative=texts["negative"],
        )


def _by_key(rows: list[dict[str, str]], path: Path) -> dict[Key, dict[tuple[str, str], Row]]:
    """By (type, subtype, id): the row of each (voice, side); each voice has both sides."""
    found: dict[Key, dict[tuple[str, str], Row]] = collections.defaultdict(dict)
    for row in rows:
        side = "positive" if is_word(row, path) else "negative"
        of_key = found[row["type"], row["subtype"], row["id"]]
        if (row["voice"], side) in of_key:
            other = of_key[row["voice"], side]["filename"]
            raise ValueError(f"{path}: two rows of one sentence: {other}, {row['filename']}")
        of_key[row["voice"], side] = row
    alone = [
        row["filename"]
        for sides in found.values()
        for (voice, side), row in sides.items()
        if (voice, "negative" if side == "positive" else "positive") not in sides
    ]
    if alone:
        raise ValueError(f"{path}: sentences without a partner in their voice: {named(alone)}")
    return found
