"""The end of every preparation: shards are checked together and summed up in ``corpus.json``.

What was left out is counted and named.  Nothing is lost silently: ids in = ids out + ids in
quarantine, and a corpus of which too much is missing for one reason is refused.  Shards are read
one by one, so memory does not grow with the corpus.
"""

import collections
import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from ray_slm import parquet
from ray_slm.corpora.utterance import (
    SAMPLE_RATE_HZ,
    Quarantined,
    num_shards,
    shard_of,
    shard_path,
)
from ray_slm.errors import QuarantineLimitError

QUARANTINE = "quarantine.jsonl"
SUMMARY = "corpus.json"
UNKNOWN_PHONE = "ALIGN_UNKNOWN_PHONE"  # its detail names the symbol, so equal ones are one symbol
MAX_SHARE_OF_A_SYMBOL = 0.001
_COLUMNS = ["id", "split", "speaker", "transcript", "num_samples", "aligned_by"]


def quarantine_path(folder: Path, shard: int) -> Path:
    """Where a shard lists what it left out, until ``finish`` merges the lists."""
    return folder / "quarantine" / f"shard-{shard:05d}.jsonl"


def write_quarantine(folder: Path, shard: int, quarantined: Sequence[Quarantined]) -> None:
    """Write a shard's list of what was left out, one JSON object a line; empty ones too."""
    path = quarantine_path(folder, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, "".join(json.dumps(dataclasses.asdict(q)) + "\n" for q in quarantined))


def finish(folder: Path, *, candidates: int, max_bad_fraction: float) -> dict[str, object]:
    """Merge the shards' quarantine, check the books and write ``corpus.json``; its content.

    ``candidates`` is how many ids went in.  Raises ValueError when the corpus is empty, an id
    stands twice or ids are unaccounted for; its kind QuarantineLimitError when one reason took
    more than ``max_bad_fraction``, or one symbol outside the inventory more than 0.1 %: that is
    another lexicon, and no accident.
    """
    books = _Books(folder, num_shards(folder))
    draft = folder / f".{QUARANTINE}.{uuid.uuid4().hex}"
    with draft.open("w") as merged:
        for shard in range(books.num_shards):
            books.add(shard, merged)
    draft.replace(folder / QUARANTINE)
    books.refuse_unsound(candidates)
    refuse_too_many(folder, books.reasons, books.examples, candidates, max_bad_fraction)
    books.refuse_another_lexicon(candidates)
    summary: dict[str, object] = {
        "num_shards": books.num_shards,
        "candidates": candidates,
        "utterances": books.num_utterances,
        "quarantined": dict(sorted(books.reasons.items())),
        "splits": books.splits(),
        "aligned_by": sorted(books.aligned_by),
    }
    _write(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def refuse_too_many(
    folder: Path,
    reasons: Mapping[str, int],
    examples: Mapping[str, Mapping[str, str]],
    candidates: int,
    max_bad_fraction: float,
) -> None:
    """Raise QuarantineLimitError when one reason took more than that share of the candidates."""
    for reason, count in reasons.items():
        if count > max_bad_fraction * candidates:
            example = examples[reason]
            raise QuarantineLimitError(
                f"{folder}: {count} of {candidates} candidates were left out as {reason}, more "
                f"than the {max_bad_fraction:.2%} allowed; one is {example['id']}: "
                f"{example['detail']}; mend the cause, or raise the corpus's max_bad_fraction"
            )


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(text)
    temporary.replace(path)


class _Books:
    """Running sums over the shards' tables and quarantine lists."""

    def __init__(self, folder: Path, shards: int) -> None:
        self._folder, self.num_shards = folder, shards
        self.num_utterances = 0
        self.aligned_by: set[str] = set()
        self.reasons: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, dict[str, str]] = {}  # the first of each reason
        self._unknown_phones: collections.Counter[str] = collections.Counter()
        self._twice: list[str] = []
        self._sums: dict[str, collections.Counter[str]] = {}
        self._speakers: dict[str, set[str]] = {}

    def add(self, shard: int, merged: TextIO) -> None:
        """Count a shard, and append what it left out to the list of all shards."""
        table = parquet.read_table(shard_path(self._folder, shard), _COLUMNS)
        rows = table.to_pylist()
        path = quarantine_path(self._folder, shard)
        lines = path.read_text().splitlines() if path.is_file() else []
        left_out = sorted(map(json.loads, lines), key=lambda q: str(q["id"]))
        merged.writelines(json.dumps(q) + "\n" for q in left_out)
        for q in left_out:
            self.reasons[q["reason"]] += 1
            self.examples.setdefault(q["reason"], q)
            self._unknown_phones[q["detail"]] += q["reason"] == UNKNOWN_PHONE
        for row in rows:
            self._add_row(row)
        self.num_utterances += len(rows)
        self._check_ids(shard, [str(row["id"]) for row in [*rows, *left_out]])

    def refuse_unsound(self, candidates: int) -> None:
        """Raise ValueError when the books do not balance."""
        num_left_out = sum(self.reasons.values())
        problem = ""
        if not self.num_utterances:
            problem = f"no utterance came of {candidates} candidates ({num_left_out} in quarantine)"
        elif self._twice:
            problem = f"{len(self._twice)} ids stand twice, {self._twice[0]!r} the first"
        elif self.num_utterances + num_left_out != candidates:
            problem = (
                f"{candidates} candidates went in, but {self.num_utterances} utterances and "
                f"{num_left_out} quarantined came out"
            )
        if problem:
            raise ValueError(
                f"{self._folder}: {problem}; delete the folder and prepare the corpus again"
            )

    def refuse_another_lexicon(self, candidates: int) -> None:
        """Raise QuarantineLimitError when one unknown symbol is in too many alignments."""
        most = max(1.0, MAX_SHARE_OF_A_SYMBOL * candidates)  # one alone may be an accident
        for detail, count in self._unknown_phones.most_common(1):
            if count > most:
                raise QuarantineLimitError(
                    f"{self._folder}: {count} of {candidates} alignments were left out for one "
                    f"symbol, more than the {MAX_SHARE_OF_A_SYMBOL:.1%} allowed; {detail}"
                )

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

    def _add_row(self, row: dict[str, str]) -> None:
        self.aligned_by.add(row["aligned_by"])
        sums = self._sums.setdefault(row["split"], collections.Counter())
        words = len(row["transcript"].split())
        sums.update(utterances=1, samples=int(row["num_samples"]), words=words)
        self._speakers.setdefault(row["split"], set()).add(row["speaker"])

    def _check_ids(self, shard: int, ids: list[str]) -> None:
        """An id belongs to one shard only, so twice in the corpus is twice in its shard."""
        counts = collections.Counter(ids)
        self._twice += sorted(each for each, count in counts.items() if count > 1)
        strangers = [each for each in counts if shard_of(each, self.num_shards) != shard]
        if strangers:
            raise ValueError(
                f"{self._folder}: {strangers[0]!r} lies in shard {shard} of {self.num_shards}, "
                "where its hash does not put it; delete the folder and prepare the corpus again"
            )
