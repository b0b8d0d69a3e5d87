"""Spoken StoryCloze: one voice reads stories with the right ending and with another.

Audio is named ``<k>_<storyid>_correct.wav`` and ``<k>_<storyid>_incorrect.wav``; sides join on the
story's id (Hassid et al. 2023).  The published sets hold no text: a ``transcripts.csv`` of the
user's (filename, text) in the same folder gives the text and phone forms.
"""

import collections
import dataclasses
import re
from pathlib import Path
from typing import ClassVar

from ray_slm.tasks.items import item_id
from ray_slm.tasks.recorded import (
    RecordedItems,
    Recording,
    digest_of_files,
    named,
    read_table,
    refuse_doubled,
    slug,
)
from ray_slm.tasks.task import Pair

TRANSCRIPTS = "transcripts.csv"
NAME = re.compile(r"(?P<number>\d+)_(?P<story>.+)_(?P<side>correct|incorrect)")
_SIDES = {"correct": "positive", "incorrect": "negative"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpokenStoryCloze:
    """The task: tSC has endings of other stories, sSC the original distractors."""

    REVISION: ClassVar[int] = 1

    name: str
    title: str
    place: str
    folder: str = "tSC"
    digest: str = ""

    def digest_of(self, folder: Path) -> str:
        """Of the transcripts if any, and of the names and sizes of the audio."""
        root = folder / self.folder
        text = [TRANSCRIPTS] if (root / TRANSCRIPTS).is_file() else []
        return digest_of_files(root, text, [path.name for path in root.glob("*.wav")])

    def recorded(self, folder: Path) -> RecordedItems:
        """The stories; ValueError names files of another name, doubled or without a partner."""
        root = folder / self.folder
        found = _stories(root)
        texts = _texts(root, [file for sides in found.values() for file in sides.values()])
        pairs, recordings, gold = [], [], []
        for story, sides in sorted(found.items()):
            name = f"{self.name}-{slug(story)}"
            told = {side: texts.get(file, "") for side, file in sides.items()}
            pairs.append(
                Pair(
                    id=name,
                    type="topic",
                    subtype="story",
                    cluster=story,
                    positive=told["positive"] or sides["positive"],
                    negative=told["negative"] or sides["negative"],
                )
            )
            for side, file in sides.items():
                item, where = item_id(name, side, "voice"), f"{self.folder}/{file}.wav"
                recordings.append(Recording(item, file, "voice", where, told[side], ()))
                gold.append({"utterance": item, "filename": file, "id": story})
        refuse_doubled(f"{root}: ids", (pair.id for pair in pairs))
        remarks: dict[str, object] = {
            "stories": len(pairs),
            "with text": sum(r.text != "" for r in recordings) // 2,
        }
        return RecordedItems(tuple(pairs), tuple(recordings), tuple(gold), remarks)


def _stories(root: Path) -> dict[str, dict[str, str]]:
    """By story: the file (without suffix) of each side."""
    found: dict[str, dict[str, str]] = collections.defaultdict(dict)
    files = sorted(path.stem for path in root.glob("*.wav"))
    if not files:
        raise ValueError(f"{root} holds no .wav file: is this the folder of the benchmark?")
    foreign = [file for file in files if not NAME.fullmatch(file)]
    if foreign:
        raise ValueError(f"{root}: not named <k>_<storyid>_<correct|incorrect>: {named(foreign)}")
    for file in files:
        match = NAME.fullmatch(file)
        assert match
        side = _SIDES[match["side"]]
        if side in found[match["story"]]:
            raise ValueError(
                f"{root}: two files of one side: {found[match['story']][side]}, {file}"
            )
        found[match["story"]][side] = file
    alone = [file for sides in found.values() if len(sides) < 2 for file in sides.values()]
    if alone:
        raise ValueError(f"{root}: files without a partner: {named(alone)}")
    return found


def _texts(root: Path, files: list[str]) -> dict[str, str]:
    """The user's transcripts by file, for all or for none."""
    if not (root / TRANSCRIPTS).is_file():
        return {}
    rows = read_table(root / TRANSCRIPTS, ("filename", "text"))
    refuse_doubled(str(root / TRANSCRIPTS), (row["filename"] for row in rows))
    texts = {row["filename"].removesuffix(".wav"): row["text"] for row in rows}
    missing = sorted(set(files) - texts.keys())
    if missing:
        raise ValueError(f"{root / TRANSCRIPTS} has no text of {named(missing)}")
    return texts
