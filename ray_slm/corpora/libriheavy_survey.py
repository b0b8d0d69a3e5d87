"""What a Libriheavy corpus reads as a whole, once: manifests and alignments, put down by shard.

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
from ray_slm.corpora.alignments.source import Part, Record, combined_digest
from ray_slm.corpora.corpus import scratch
from ray_slm.corpora.lines import read_lines
from ray_slm.corpora.manifest import Cut, ManifestReader
from ray_slm.corpora.scatter import Scatter, gather
from ray_slm.corpora.shard import write_json
from ray_slm.corpora.utterance import shard_of

if TYPE_CHECKING:
    from ray_slm.corpora.libriheavy import LibriheavyCorpus

ALIGNMENTS_PLACE = "alignments"
_MANIFEST, _ALIGNMENT = "manifest", "alignment"

Records = dict[str, dict[str, list[bytes]]]  # utterance id -> role -> contents in order


class OfManifest(NamedTuple):
    """A cut with the subset whose manifest it stands in."""

    subset: str
    cut: Cut


class Read(NamedTuple):
    """What was read of the alignments for one shard."""

    of: Records
    num_unclaimed: int  # utterances that are in the alignments but in no manifest


def manifest_name(subset: str) -> str:
    """The file name under which a subset's manifest is published."""
    return f"libriheavy_cuts_{subset}.jsonl.gz"


def place(places: Mapping[str, Path], name: str, what: str) -> Path:
    """The folder at a place; raises ValueError when it is not set or no folder."""
    if name not in places or not Path(places[name]).is_dir():
        found = f"is {places[name]}, no folder" if name in places else "is not set"
        raise ValueError(f"the place {name!r} ({what}) {found}; pass `--place {name}=FOLDER`")
    return Path(places[name])


def sources(corpus: "LibriheavyCorpus", places: Mapping[str, Path]) -> tuple[str, ...]:
    """``manifest:<subset>`` and ``alignment:<role>:<name>``; the audio's place is checked too."""
    root = place(places, corpus.name, "Libriheavy's manifests")
    place(places, corpus.audio_place, "Libri-Light's audio")
    missing = [s for s in corpus.splits if not (root / manifest_name(s)).is_file()]
    if missing:
        raise ValueError(
            f"{root} has no {', '.join(map(manifest_name, missing))}; fetch them from "
            "huggingface.co/datasets/pkufool/libriheavy, or leave the subsets out of the study"
        )
    found = [f"{_MANIFEST}:{subset}" for subset in corpus.splits]
    if not isinstance(corpus.alignment, ForcedAlignment):
        parts = corpus.alignment.parts(place(places, ALIGNMENTS_PLACE, "the alignments"))
        found += [f"{_ALIGNMENT}:{part.role}:{part.name}" for part in parts]
    return tuple(found)


def survey(
    corpus: "LibriheavyCorpus", source: str, folder: Path, places: Mapping[str, Path]
) -> None:
    """Read one source into the folder's scratch: records by shard, then its digest and counts."""
    kind, _, rest = source.partition(":")
    target = _surveyed(folder, source)
    seen = hashlib.sha256()
    with Scatter(target, corpus.num_shards) as down:
        if kind == _MANIFEST:
            path = place(places, corpus.name, "Libriheavy's manifests") / manifest_name(rest)
            facts = _put_cuts(
                _reader(corpus, path), read_lines(path, seen), down, corpus.num_shards
            )
        else:
            assert not isinstance(corpus.alignment, ForcedAlignment)
            part = Part(*rest.split(":", maxsplit=1))
            root = place(places, ALIGNMENTS_PLACE, "the alignments")
            records = corpus.alignment.records(root, part, seen)
            facts = {"records": _put_records(records, down, corpus.num_shards)}
    write_json(target.with_suffix(".json"), {"sha256": seen.hexdigest(), **facts})


def settle(corpus: "LibriheavyCorpus", folder: Path, places: Mapping[str, Path]) -> None:
    """Write down what was read.  Raises ValueError naming all digests that are not the value's."""
    read = {source: _facts(folder, source) for source in sources(corpus, places)}
    found = _digest(read, _MANIFEST)
    differing = []
    if found != corpus.manifests_digest:
        field = f"manifests_digest={corpus.manifests_digest!r}"
        differing.append(f'the manifests of {field}: paste manifests_digest="{found}"')
    if not isinstance(corpus.alignment, ForcedAlignment):
        found, wanted = _digest(read, _ALIGNMENT), corpus.alignment.digest
        kind = type(corpus.alignment).__name__
        if found != wanted:
            differing.append(f'the alignments of digest={wanted!r}: paste {kind}(digest="{found}")')
    if differing:
        raise ValueError(
            f"the study {corpus.name!r} means other files than lie here; if it should mean these, "
            f"change its corpus: not {'; not '.join(differing)}"
        )
    write_json(_read_path(folder), read)


def what_was_read(folder: Path) -> dict[str, Any]:
    """Digest and counts of each source, as ``settle`` wrote them."""
    found: dict[str, Any] = json.loads(_read_path(folder).read_text())
    return found


def num_cuts(read: Mapping[str, Any]) -> int:
    """Lines of all manifests: what must come out or be in quarantine."""
    return sum(facts["lines"] for name, facts in read.items() if name.startswith(_MANIFEST))


def cuts(corpus: "LibriheavyCorpus", folder: Path, shard: int) -> list[OfManifest]:
    """The cuts of one shard.  Raises ValueError naming lines when an id stands twice."""
    found, lines = [], collections.defaultdict(list)
    decode = msgspec.json.Decoder(Cut).decode
    for subset in corpus.splits:
        for _, content in gather(_surveyed(folder, f"{_MANIFEST}:{subset}"), shard):
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
        kind, _, rest = source.partition(":")
        if kind != _ALIGNMENT:
            continue
        role = rest.partition(":")[0]
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


def _reader(corpus: "LibriheavyCorpus", path: Path) -> ManifestReader:
    return ManifestReader(str(path), audio_prefix=corpus.audio_prefix, transcript=corpus.transcript)


def _put_cuts(
    reader: ManifestReader, lines: Iterator[bytes], down: Scatter, num_shards: int
) -> dict[str, object]:
    encode, number, num_samples = msgspec.json.Encoder().encode, 0, 0
    for number, line in enumerate(lines, start=1):
        cut = reader.read(number, line)
        num_samples += cut.num_samples
        down.add(shard_of(cut.id, num_shards), b"", encode(cut))
    return {"lines": number, "samples": num_samples}


def _put_records(records: Iterator[Record], down: Scatter, num_shards: int) -> int:
    count, last, shard = 0, b"", 0
    for key, content in records:
        if key != last:  # a CTM has a dozen lines of one utterance in a row
            last, shard = key, shard_of(key.decode(errors="replace"), num_shards)
        down.add(shard, key, content)
        count += 1
    return count


def _read_path(folder: Path) -> Path:
    return scratch(folder) / "read.json"


def _facts(folder: Path, source: str) -> Any:
    return json.loads(_surveyed(folder, source).with_suffix(".json").read_text())


def _digest(read: Mapping[str, Any], kind: str) -> str:
    return combined_digest({n: f["sha256"] for n, f in read.items() if n.startswith(kind)})
