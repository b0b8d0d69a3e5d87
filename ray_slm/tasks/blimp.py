"""BLiMP from the user's copy: a JSONL file per paradigm, 1,000 pairs each (Warstadt et al. 2020).

A line holds sentence_good, sentence_bad, linguistics_term, UID and pairID among others.
"""

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

from ray_slm.tasks.recorded import digest_of_files, refuse_doubled, slug
from ray_slm.tasks.task import Items, Pair
from ray_slm.tasks.written import sides_of

FIELDS = ("sentence_good", "sentence_bad", "linguistics_term", "UID", "pairID")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blimp:
    """The task; ``num_pairs`` of each paradigm, the first ones, or all of them."""

    REVISION: ClassVar[int] = 1

    name: str = "blimp"
    title: str = "BLiMP"
    place: str = "blimp"
    num_pairs: int | None = None
    plain: bool = False
    digest: str = ""

    def digest_of(self, folder: Path) -> str:
        """Of all files."""
        return digest_of_files(folder, sorted(path.name for path in folder.glob("*.jsonl")))

    def read(self, folder: Path) -> Items:
        """A pair per line."""
        files = sorted(folder.glob("*.jsonl"))
        if not files:
            raise ValueError(f"{folder} holds no .jsonl file: is this the folder of BLiMP?")
        pairs = [pair for file in files for pair in self._pairs(file)]
        refuse_doubled(f"{folder}: pairs", (pair.id for pair in pairs))
        return Items(tuple(pairs), {"paradigms": len(files)})

    def _pairs(self, path: Path) -> list[Pair]:
        found = []
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines[: self.num_pairs], start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not JSON: {error}") from error
            lacking = [field for field in FIELDS if not str(row.get(field, ""))]
            if lacking:
                raise ValueError(f"{path}:{number}: {', '.join(lacking)}: missing or empty")
            sides = sides_of(
                f"{path}:{number}", row["sentence_good"], row["sentence_bad"], plain=self.plain
            )
            found.append(
                Pair(
                    id=f"{self.name}-{slug(row['UID'])}-{slug(str(row['pairID']))}",
                    type=row["linguistics_term"],
                    subtype=row["UID"],
                    cluster=row["UID"],
                    positive=sides.positive,
                    negative=sides.negative,
                )
            )
        return found


TASK = Blimp()
