"""Turns a task's pairs into a folder of items: audio, phones and text of both sides per voice.

The folder has a corpus folder's layout, so whatever tokenizes a corpus tokenizes items.  Both
sides of a pair are spoken in one manner, and a pair that lost any part is left out whole.
"""

import collections
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ray_slm.corpora.finish import finish, quarantine_path, write_quarantine
from ray_slm.corpora.synthesis import Line, Speaker, render_shard
from ray_slm.corpora.utterance import (
    Quarantined,
    num_shards,
    read_shard,
    shard_of,
    write_utterances,
)
from ray_slm.tasks.task import Items, Pair

SPLIT = "items"
SIDES = ("positive", "negative")
PAIRS = "pairs.parquet"
SUMMARY = "items.json"
BROKEN = "PAIR_BROKEN"
_SCHEMA = pa.schema([(field.name, pa.string()) for field in dataclasses.fields(Pair)])


def item_id(pair_id: str, side: str, voice: str) -> str:
    """The utterance id of one side of a pair in one voice."""
    return f"{pair_id}.{side}.{voice}"


def pair_of(utterance_id: str) -> str:
    """The pair that an item's utterance belongs to."""
    return utterance_id.rsplit(".", 2)[0]


def item_lines(pairs: Sequence[Pair], voices: Sequence[str]) -> list[Line]:
    """What is spoken: every side of every pair in every voice, rate and pitch shared by sides.

    Raises ValueError when voices or pairs repeat, or an id could not be split again.
    """
    ids = [pair.id for pair in pairs]
    repeated = [each for group in (ids, voices) for each in group if group.count(each) > 1]
    if repeated or not voices or any("." in each for each in (*ids, *voices)):
        raise ValueError(
            f"items need different pair ids and different voices without dots; got voices "
            f"{tuple(voices)} and the repeated names {repeated[:5]}"
        )
    return [
        Line(
            id=item_id(pair.id, side, voice),
            split=SPLIT,
            speaker=voice,
            book=pair.id.split("-")[0],
            text=getattr(pair, side),
            manner=f"{pair.id}.{voice}",
        )
        for pair in pairs
        for side in SIDES
        for voice in voices
    ]


def prepare_shard(
    pairs: Sequence[Pair],
    voices: Sequence[str],
    shard: int,
    num_shards: int,
    folder: Path,
    speaker: Speaker,
) -> list[Quarantined]:
    """Speak one shard of the items into ``folder``; return those that could not be spoken."""
    lines = [line for line in item_lines(pairs, voices) if shard_of(line.id, num_shards) == shard]
    return render_shard(lines, folder, shard, speaker)


def finish_items(
    folder: Path,
    items: Items,
    voices: Sequence[str],
    *,
    candidates: int | None = None,
    max_bad_fraction: float = 0.05,
) -> dict[str, object]:
    """Leave out broken pairs, check the folder, write pairs.parquet and items.json; the latter.

    ``candidates`` is how many items went in; by default every side of every pair in every voice.

    A pair is broken when one of its utterances is in quarantine: the others follow it there as
    PAIR_BROKEN.  Raises ValueError as ``finish`` does, or when no pair is left.
    """
    broken = _broken_pairs(folder)
    for shard in range(num_shards(folder)):
        _leave_out(folder, shard, broken)
    if candidates is None:
        candidates = len(item_lines(items.pairs, voices))
    finish(folder, candidates=candidates, max_bad_fraction=max_bad_fraction)
    kept = [pair for pair in items.pairs if pair.id not in broken]
    if not kept:
        raise ValueError(f"{folder}: every pair lost a side; see quarantine.jsonl for the reasons")
    summary: dict[str, object] = {
        "pairs": len(kept),
        "voices": list(voices),
        "broken": {pair: sorted(lost) for pair, lost in sorted(broken.items())},
        "types": dict(collections.Counter(pair.type for pair in kept)),
        "remarks": items.remarks,
    }
    write_pairs(folder, kept)
    _replace(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    return summary


def write_pairs(folder: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs.parquet, one row a pair, with page checksums."""
    table = pa.Table.from_pylist([dataclasses.asdict(pair) for pair in pairs], schema=_SCHEMA)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, write_page_checksum=True)
    _replace(folder / PAIRS, buffer.getvalue().to_pybytes())


def read_pairs(folder: Path) -> tuple[Pair, ...]:
    """The pairs of an item folder, in the order they were made."""
    table = pq.read_table(folder / PAIRS, page_checksum_verification=True)
    return tuple(Pair(**row) for row in table.to_pylist())


def _broken_pairs(folder: Path) -> dict[str, list[str]]:
    """Pairs with an utterance that could not be made, and which."""
    broken: dict[str, list[str]] = collections.defaultdict(list)
    for shard in range(num_shards(folder)):
        for quarantined in _read_quarantine(folder, shard):
            if quarantined.reason != BROKEN:
                broken[pair_of(quarantined.id)].append(quarantined.id)
    return dict(broken)


def _leave_out(folder: Path, shard: int, broken: dict[str, list[str]]) -> None:
    """Move what is left of broken pairs into quarantine; doing it again changes nothing."""
    utterances = read_shard(folder, shard)
    orphans = [u for u in utterances if pair_of(u.id) in broken]
    if not orphans:
        return
    records = [
        Quarantined(
            id=orphan.id,
            stage="items",
            reason=BROKEN,
            detail=f"its pair lost {', '.join(sorted(broken[pair_of(orphan.id)]))}",
        )
        for orphan in orphans
    ]
    before = [q for q in _read_quarantine(folder, shard) if q.id not in {u.id for u in orphans}]
    write_quarantine(folder, shard, [*before, *records])
    write_utterances(folder, shard, [u for u in utterances if pair_of(u.id) not in broken])


def _read_quarantine(folder: Path, shard: int) -> list[Quarantined]:
    text = quarantine_path(folder, shard).read_text()
    return [Quarantined(**json.loads(line)) for line in text.splitlines()]


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
