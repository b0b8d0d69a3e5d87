"""The end of every preparation: shards are checked together and summed up in ``corpus.json``.

What was left out is counted and named.  Nothing is lost silently: ids in = ids out + ids in
quarantine, and a corpus of which too much is missing for one reason is refused.
"""

import collections
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Quarantined, num_shards, shard_path
from ray_slm.errors import QuarantineLimitError

QUARANTINE = "quarantine.jsonl"
SUMMARY = "corpus.json"
_COLUMNS = ["id", "split", "speaker", "transcript", "num_samples", "aligned_by"]


def quarantine_path(folder: Path, shard: int) -> Path:
    """Where a shard lists what it left out, until ``finish`` merges the lists."""
    return folder / "quarantine" / f"shard-{shard:05d}.jsonl"


def write_quarantine(folder: Path, shard: int, quarantined: Sequence[Quarantined]) -> None:
    """Write a shard's list of what was left out, one JSON object a line; empty ones too."""
    path = quarantine_path(folder, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(dataclasses.asdict(q)) + "\n" for q in quarantined))


def finish(folder: Path, *, candidates: int, max_bad_fraction: float) -> dict[str, object]:
    """Merge the shards' quarantine, check the books and write ``corpus.json``; its content.

    ``candidates`` is how many ids went in.  Raises ValueError when the corpus is empty, an id
    stands twice or ids are unaccounted for; its kind QuarantineLimitError when one reason took
    more than ``max_bad_fraction``.
    """
    quarantined = _read_quarantine(folder)
    utterances = _Utterances()
    for shard in range(num_shards(folder)):
        utterances.add(pq.read_table(shard_path(folder, shard), columns=_COLUMNS).to_pylist())
    problem = _unsound(utterances.ids, [q["id"] for q in quarantined], candidates)
    if problem:
        raise ValueError(f"{folder}: {problem}; delete the folder and prepare the corpus again")
    _refuse_too_many(folder, quarantined, candidates, max_bad_fraction)
    reasons = collections.Counter(q["reason"] for q in quarantined)
    summary: dict[str, object] = {
        "num_shards": num_shards(folder),
        "candidates": candidates,
        "utterances": len(utterances.ids),
        "quarantined": dict(sorted(reasons.items())),
        "splits": utterances.splits(),
        "aligned_by": sorted(utterances.aligned_by),
    }
    lines = [json.dumps(q) + "\n" for q in sorted(quarantined, key=lambda q: q["id"])]
    _write(folder / QUARANTINE, "".join(lines))
    _write(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def _read_quarantine(folder: Path) -> list[dict[str, str]]:
    paths = sorted((folder / "quarantine").glob("shard-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def _unsound(ids: list[str], quarantined: list[str], candidates: int) -> str:
    """What is wrong with the books, or nothing."""
    counts = collections.Counter([*ids, *quarantined])
    twice = sorted(each for each, count in counts.items() if count > 1)
    if not ids:
        return f"no utterance came of {candidates} candidates ({len(quarantined)} in quarantine)"
    if twice:
        return f"{len(twice)} ids stand twice, {twice[0]!r} the first"
    if len(counts) != candidates:
        return (
            f"{candidates} candidates went in, but {len(ids)} utterances and "
            f"{len(quarantined)} quarantined came out"
        )
    return ""


def _refuse_too_many(
    folder: Path, quarantined: list[dict[str, str]], candidates: int, max_bad_fraction: float
) -> None:
    for reason, count in collections.Counter(q["reason"] for q in quarantined).items():
        if count > max_bad_fraction * candidates:
            example = next(q for q in quarantined if q["reason"] == reason)
            raise QuarantineLimitError(
                f"{folder}: {count} of {candidates} candidates were left out as {reason}, more "
                f"than the {max_bad_fraction:.2%} allowed; one is {example['id']}: "
                f"{example['detail']}; mend the cause, or raise max_bad_fraction"
            )


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


class _Utterances:
    """Running sums over the shards' tables."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.aligned_by: set[str] = set()
        self._sums: dict[str, collections.Counter[str]] = {}
        self._speakers: dict[str, set[str]] = {}

    def add(self, rows: list[dict]) -> None:
        """Count the rows of one table."""
        for row in rows:
            self.ids.append(row["id"])
            self.aligned_by.add(row["aligned_by"])
            sums = self._sums.setdefault(row["split"], collections.Counter())
            words = len(row["transcript"].split())
            sums.update(utterances=1, samples=row["num_samples"], words=words)
            self._speakers.setdefault(row["split"], set()).add(row["speaker"])

    def splits(self) -> dict[str, dict[str, float]]:
        """Per split: utterances, hours, words and speakers."""
        return {
            split: {
                "utterances": sums["utterances"],
                "hours": round(sums["samples"] / SAMPLE_RATE_HZ / 3600, 6),
                "words": sums["words"],
                "speakers": len(self._speakers[split]),
            }
            for split, sums in sorted(self._sums.items())
        }
