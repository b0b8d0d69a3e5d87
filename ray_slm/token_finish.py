"""The end of tokenizing: shards are checked together, and whose tokens they are is written.

Ids in the store and ids in its quarantine are those of the corpus; ``tokens.json`` sums up, last.
Memory grows neither with the number of utterances nor with that of shards.
"""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet, token_index
from ray_slm.corpora.finish import refuse_too_many
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ
from ray_slm.token_shards import (
    CHUNK_ROWS,
    check_shard,
    quarantine_path,
    shard_paths,
    write_whole,
)
from ray_slm.tokens import SUMMARY

MAX_VOCAB_SIZE = 65_536 - 3  # BOS, EOS and PAD follow the vocabulary
QUARANTINE = "quarantine.jsonl"
SORTING = ".sorting-"


def finish(
    out: Path, corpus: Path, vocab_size: int, max_bad_fraction: float = 1.0
) -> dict[str, object]:
    """Check all shards together, join the quarantine, write who is where; the summary.

    ``corpus`` is what was tokenized.  Raises ValueError naming the shard that is missing or bad,
    or the id that stands in two; its kind QuarantineLimitError when one reason took more than
    ``max_bad_fraction`` of the utterances.
    """
    if not 0 < vocab_size <= MAX_VOCAB_SIZE:
        raise ValueError(f"vocab_size is {vocab_size}: ids of 16 bits allow {MAX_VOCAB_SIZE}")
    _remove_drafts(out)
    num_shards = len(list((out / "quarantine").glob("shard-*.jsonl")))
    refused = _Refused(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=SORTING) as scratch:
        splits: dict[str, _Split] = {}
        for shard in range(num_shards):
            for rows in token_index.kept(corpus, shard, refused.ids(shard)):
                if rows.split not in splits:
                    splits[rows.split] = _Split(out, rows.split, vocab_size, Path(scratch))
                splits[rows.split].add(shard, rows.table)
        of_splits = {name: splits[name].settle() for name in sorted(splits)}
    quarantined = (quarantine_path(out, shard).read_bytes() for shard in range(num_shards))
    write_whole(out / QUARANTINE, b"".join(quarantined))
    num_out = sum(split.num_utterances for split in splits.values())
    refused.refuse_too_many(num_out, max_bad_fraction)
    summary: dict[str, object] = {
        "vocab_size": vocab_size,
        "num_shards": num_shards,
        "quarantined": dict(sorted(refused.reasons.items())),
        "splits": of_splits,
    }
    write_whole(out / SUMMARY, (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    return summary


def _remove_drafts(out: Path) -> None:
    """What killed workers left behind: files that never came into place."""
    for draft in out.glob("*/.*-*"):
        draft.unlink(missing_ok=True)
    for folder in out.glob(f"{SORTING}*"):
        shutil.rmtree(folder, ignore_errors=True)


class _Refused:
    """Whom the shards refused, counted by reason."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.reasons: Counter[str] = Counter()
        self._examples: dict[str, dict[str, str]] = {}

    def ids(self, shard: int) -> list[str]:
        """Those of a shard, which is counted with this."""
        path = quarantine_path(self._out, shard)
        if not path.is_file():
            raise ValueError(
                f"{self._out}: shard {shard} is not tokenized, later ones are; run again"
            )
        refused = [json.loads(line) for line in path.read_text().splitlines()]
        for one in refused:
            self.reasons[one["reason"]] += 1
            self._examples.setdefault(one["reason"], one)
        return [one["id"] for one in refused]

    def refuse_too_many(self, num_out: int, max_bad_fraction: float) -> None:
        """Raise QuarantineLimitError, ``num_out`` utterances having come through."""
        candidates = num_out + self.reasons.total()
        refuse_too_many(self._out, self.reasons, self._examples, candidates, max_bad_fraction)


class _Split:
    """A split whose shards are checked and whose utterances are put in order."""

    def __init__(self, out: Path, split: str, vocab_size: int, scratch: Path) -> None:
        self._out, self._split = out, split
        paths = sorted((out / split).glob("shard-*.lengths.parquet"))
        shards = [int(path.name.split(".")[0].removeprefix("shard-")) for path in paths]
        self._num_tokens = sum(check_shard(out, split, one, vocab_size) for one in shards)
        self._sizes = dict(zip(shards, map(parquet.num_rows, paths), strict=True))
        self.num_utterances = sum(self._sizes.values())
        self._found: Counter[int] = Counter()
        folder = scratch / split
        folder.mkdir()
        self._sorting = token_index.Sorting(folder)
        self._ids = hashlib.sha256()
        self._last, self._num_samples = "", 0

    def add(self, shard: int, rows: pa.Table) -> None:
        """Utterances of a shard that have tokens."""
        self._found[shard] += len(rows)
        self._sorting.add(rows)

    def settle(self) -> dict[str, object]:
        """Write whose the tokens are; what ``tokens.json`` says of the split."""
        for shard in sorted({*self._sizes, *self._found}):
            path = shard_paths(self._out, self._split, shard).lengths
            if not path.is_file():
                raise ValueError(f"{path} is missing; tokenize shard {shard} again")
            if self._sizes[shard] != self._found[shard]:
                raise ValueError(
                    f"{path} is of {self._sizes[shard]} utterances, the corpus has "
                    f"{self._found[shard]} with tokens; tokenize shard {shard} again"
                )
        target = self._out / self._split / token_index.FILE
        token_index.write_utterances(target, map(self._counted, self._sorting.in_order()))
        return {
            "shards": sorted(self._sizes),
            "num_utterances": self.num_utterances,
            "num_tokens": self._num_tokens,
            "seconds": self._num_samples / SAMPLE_RATE_HZ,
            "ids_sha256": self._ids.hexdigest(),
        }

    def _counted(self, table: pa.Table) -> pa.Table:
        """The same rows, counted: SHA-256 is of the ids with a line feed between them."""
        ids = table["id"].combine_chunks()
        twice = ids[1:].filter(pc.equal(ids[1:], ids[:-1])).to_pylist()
        if twice or ids[0].as_py() == self._last:
            raise ValueError(
                f"{self._out}: the id {[*twice, ids[0].as_py()][0]} stands twice; prepare again"
            )
        for start in range(0, len(table), CHUNK_ROWS):
            lines = "\n".join(ids[start : start + CHUNK_ROWS].to_pylist())
            self._ids.update(f"\n{lines}".encode() if self._last else lines.encode())
            self._last = ids[-1].as_py()
        self._num_samples += pc.sum(table["num_samples"]).as_py() or 0
        return table
