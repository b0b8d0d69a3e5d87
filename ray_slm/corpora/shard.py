"""What a shard in the making holds, and how it is published: whole or not at all.

Counts, quarantine, audio if any, and last the utterance table: a shard whose table exists is
whole.  Ids in = ids in the table + ids in quarantine.
"""

import collections
import dataclasses
import json
import uuid
from collections.abc import Mapping
from pathlib import Path

from ray_slm.corpora.finish import write_quarantine
from ray_slm.corpora.utterance import Quarantined, Utterance, write_utterances

CANDIDATES = "candidates"


@dataclasses.dataclass
class ShardInTheMaking:
    """What came out, what was left out, and what was mended or worth a count."""

    utterances: list[Utterance] = dataclasses.field(default_factory=list)
    quarantined: list[Quarantined] = dataclasses.field(default_factory=list)
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def publish(self, folder: Path, shard: int, *, audio: tuple[Path, str] | None = None) -> None:
        """Write the shard into a corpus folder; ``audio`` is (file, its path in the folder)."""
        counts = {CANDIDATES: len(self.utterances) + len(self.quarantined), **self.counts}
        write_json(counts_path(folder, shard), dict(sorted(counts.items())))
        write_quarantine(folder, shard, sorted(self.quarantined, key=lambda q: q.id))
        if audio is not None:
            target = folder / audio[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            audio[0].replace(target)
        write_utterances(folder, shard, self.utterances)


def counts_path(folder: Path, shard: int) -> Path:
    """Where a shard writes its counts."""
    return folder / "counts" / f"shard-{shard:05d}.json"


def summed_counts(folder: Path, num_shards: int) -> collections.Counter[str]:
    """The shards' counts together; raises ValueError naming the shard that is not there."""
    counts: collections.Counter[str] = collections.Counter()
    for shard in range(num_shards):
        path = counts_path(folder, shard)
        if not path.is_file():
            raise ValueError(f"{path} is missing: shard {shard} has not been prepared; run again")
        counts.update(json.loads(path.read_text()))
    return counts


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a small JSON file that is there entirely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)
