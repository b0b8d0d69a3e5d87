"""StoryCloze from the user's CSV file: four sentences with the right ending or the distractor.

Columns are InputStoryid, InputSentence1-4, RandomFifthSentenceQuiz1 and 2, AnswerRightEnding
(Mostafazadeh et al. 2016).  ``topic`` takes another story's right ending for the distractor.
"""

import dataclasses
import random
from pathlib import Path
from typing import ClassVar

from ray_slm.tasks.recorded import digest_of_files, read_table, refuse_doubled, slug
from ray_slm.tasks.task import Items, Pair
from ray_slm.tasks.written import sides_of

_TOLD = tuple(f"InputSentence{i}" for i in range(1, 5))
_ENDINGS = ("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2")
COLUMNS = ("InputStoryid", *_TOLD, *_ENDINGS, "AnswerRightEnding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoryCloze:
    """The task; ``file`` lies in the folder that the place names."""

    REVISION: ClassVar[int] = 1

    name: str = "storycloze"
    title: str = "StoryCloze"
    place: str = "storycloze"
    file: str = "cloze_test.csv"
    topic: bool = False
    plain: bool = False
    seed: int = 0
    digest: str = ""

    def digest_of(self, folder: Path) -> str:
        """Of the file."""
        return digest_of_files(folder, [self.file])

    def read(self, folder: Path) -> Items:
        """A pair per story."""
        path = folder / self.file
        rows = read_table(path, COLUMNS)
        refuse_doubled(str(path), (row["InputStoryid"] for row in rows))
        right = []
        for row in rows:
            if row["AnswerRightEnding"] not in ("1", "2"):
                answer = row["AnswerRightEnding"]
                raise ValueError(f"{path}: {row['InputStoryid']}: the right ending is {answer!r}")
            right.append(row[_ENDINGS[int(row["AnswerRightEnding"]) - 1]])
        pairs = []
        for number, (row, other) in enumerate(zip(rows, self._others(rows, right), strict=True)):
            told = [row[column] for column in _TOLD]
            item = f"{path}: {row['InputStoryid']}"
            if not all(text.strip() for text in (*told, right[number], other)):
                raise ValueError(f"{item}: a sentence or an ending is empty")
            texts = (" ".join([*told, ending]) for ending in (right[number], other))
            sides = sides_of(item, *texts, plain=self.plain)
            pairs.append(
                Pair(
                    id=f"{self.name}-{slug(row['InputStoryid'])}",
                    type="topic" if self.topic else "story",
                    subtype="story",
                    cluster=row["InputStoryid"],
                    positive=sides.positive,
                    negative=sides.negative,
                )
            )
        refuse_doubled(f"{path}: ids", (pair.id for pair in pairs))
        return Items(tuple(pairs), {"stories": len(pairs)})

    def _others(self, rows: list[dict[str, str]], right: list[str]) -> list[str]:
        """The other ending of each story."""
        if not self.topic:
            return [row[_ENDINGS[2 - int(row["AnswerRightEnding"])]] for row in rows]
        order = list(range(len(right)))
        random.Random(self.seed).shuffle(order)
        foreign = dict(zip(order, [*order[1:], order[0]], strict=True))
        return [right[foreign[number]] for number in range(len(right))]


TASK = StoryCloze()
