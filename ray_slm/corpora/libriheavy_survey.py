"""Manifests and alignments of a Libriheavy corpus, read once and put down by shard.

Each source is read as a stream in bounded memory, its digest taken on the way, whatever its
length.  Shards then take up their own cuts and alignment records.
"""

import collections
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.alignments.source import Record
from ray_slm.corpora.corpus import scratch
from ray_slm.corpora.libriheavy_sources import (
    ALIGNMENT,
    MANIFEST,
    alignment_records,
    digests_of,
    manifest_name,
    manifest_path,
    part_of,
    sources,
)
from ray_slm.corpora.lines import read_lines
from ray_slm.corpora.manifest import Cut, ManifestReader
from ray_slm.corpora.scatter import Scatter, gather
from ray_slm.corpora.shard import write_json
from ray_slm.corpora.utterance import shard_of

if TYPE_CHECKING:
    from ray_slm.corpora.libriheavy import LibriheavyCorpus

Records = dict[str, dict[str, list[bytes]]]  # utterance id -> role -> contents in order


class OfManifest(NamedTuple):
    """A cut with the subset whose manifest it stands in."""

    subset: str
    cut: Cut


class Read(NamedTuple):
    """What was read of the alignments for one shard."""

    of: Records
    num_unclaimed: int  # utterances that are in the alignments but in no manifest


def survey(
    corpus: "LibriheavyCorpus", source: str, folder: Path, places: Mapping[str, Path]
) -> None:
    """Read one source into the folder's scratch: records by shard, then its digest and counts."""
    target, seen = _surveyed(folder, source), hashlib.sha256()
    with Scatter(target, corpus.num_shards) as down:
        if source.startswith(f"{MANIFEST}:"):
            path = manifest_path(corpus, source.partition(":")[2], places)
            facts = _put_cuts(corpus, path, read_lines(path, seen), down)
        else:
            records = alignment_records(corpus, source, places, seen)
            facts = _put_records(records, down, corpus.num_shards)
    write_json(target.with_suffix(".json"), {"sha256": seen.hexdigest(), **facts})


def settle(corpus: "LibriheavyCorpus", folder: Path, places: Mapping[str, Path]) -> None:
    """Write down what was read.  Raises ValueError naming all digests that are not the value's."""
    read = {source: _facts(folder, source) for source in sources(corpus, places)}
    found = digests_of({source: facts["sha256"] for source, facts in read.items()})
    wanted, remedies = {MANIFEST: corpus.manifests_digest}, []
    if not isinstance(corpus.alignment, ForcedAlignment):
        wanted[ALIGNMENT] = corpus.alignment.digest
    fields = {
        MANIFEST: "manifests_digest={!r} of LibriheavyCorpus",
        ALIGNMENT: f"digest={{!r}} of {type(corpus.alignment).__name__}",
    }
    for kind, digest in wanted.items():
        if digest != found[kind]:
            remedies.append(f"{fields[kind].format(digest)} by {found[kind]!r}")
    if remedies:
        raise ValueError(
            f"the files of {corpus.name!r} are not those that the study means; if they should be, "
            f"replace in the study {' and '.join(remedies)}"
        )
    write_json(_read_path(folder), read)


def what_was_read(folder: Path) -> dict[str, Any]:
    """Digest and counts of each source, as ``settle`` wrote them."""
    found: dict[str, Any] = json.loads(_read_path(folder).read_text())
    return found


def num_cuts(read: Mapping[str, Any]) -> int:
    """Lines of all manifests: what must come out or be in quarantine."""
    return sum(facts["lines"] for name, facts in read.items() if name.startswith(f"{MANIFEST}:"))


def cuts(corpus: "LibriheavyCorpus", folder: Path, shard: int) -> list[OfManifest]:
    """The cuts of one shard.  Raises ValueError naming lines when an id stands twice."""
    found, lines = [], collections.defaultdict(list)
    decode = msgspec.json.Decoder(Cut).decode
    for subset in corpus.splits:
        for _, content in gather(_surveyed(folder, f"{MANIFEST}:{subset}"), shard):
            cut = decode(content)
            found.append(OfManifest(subset, cut))
            lines[cut.id].append(f"{manifest_name(subset)}:{cut.line}")
    twice = [f"{each} in {' and '.join(at)}" for each, at in lines.items() if len(at) > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} ids stand twice: {'; '.join(sorted(twice)[:20])}; leave one of the "
            "subsets out, or drop the lines"
        )
    return found


def alignments(folder: Path, shard: int, wanted: frozenset[str]) -> Read:
    """The alignment records of one shard's utterances; those of no utterance are counted."""
    found: Records = {}
    unclaimed: set[bytes] = set()
    for source in what_was_read(folder):
        if not source.startswith(f"{ALIGNMENT}:"):
            continue
        role = part_of(source).role
        for key, content in gather(_surveyed(folder, source), shard):
            utterance_id = key.decode(errors="replace")
            if utterance_id not in wanted:
                unclaimed.add(key)
                continue
            found.setdefault(utterance_id, {}).setdefault(role, []).append(content)
    return Read(found, len(unclaimed))


def _surveyed(folder: Path, source: str) -> Path:
    """Where a source's records lie; any name a source has makes a file name so."""
    return scratch(folder) / "survey" / hashlib.sha256(source.encode()).hexdigest()[:16]


def _read_path(folder: Path) -> Path:
    return scratch(folder) / "read.json"


def _facts(folder: Path, source: str) -> Any:
    return json.loads(_surveyed(folder, source).with_suffix(".json").read_text())


def _put_cuts(
    corpus: "LibriheavyCorpus", path: Path, lines: Iterator[bytes], down: Scatter
) -> dict[str, int]:
    reader = ManifestReader(
        str(path), audio_prefix=corpus.audio_prefix, transcript=corpus.transcript
    )
    encode, number, num_samples = msgspec.json.Encoder().encode, 0, 0
    for number, line in enumerate(lines, start=1):
        cut = reader.read(number, line)
        num_samples += cut.num_samples
        down.add(shard_of(cut.id, corpus.num_shards), b"", encode(cut))
    return {"lines": number, "samples": num_samples}


def _put_records(records: Iterator[Record], down: Scatter, num_shards: int) -> dict[str, int]:
    count, last, shard = 0, b"", 0
    for key, content in records:
        if key != last:  # a CTM has a dozen lines of one utterance in a row
            last, shard = key, shard_of(key.decode(errors="replace"), num_shards)
        down.add(shard, key, content)
        count += 1
    return {"records": count}
