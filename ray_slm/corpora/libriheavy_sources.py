"""What a Libriheavy corpus is made from: the manifests, the alignments, and their digests.

A source is named ``manifest:<subset>`` or ``alignment:<role>:<name>``.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.alignments.source import Part, Record, combined_digest
from ray_slm.corpora.lines import Hash, read_lines

if TYPE_CHECKING:
    from ray_slm.corpora.libriheavy import LibriheavyCorpus

ALIGNMENTS_PLACE = "alignments"
MANIFEST, ALIGNMENT = "manifest", "alignment"


def manifest_name(subset: str) -> str:
    """The file name under which a subset's manifest is published."""
    return f"libriheavy_cuts_{subset}.jsonl.gz"


def place(places: Mapping[str, Path], name: str, what: str) -> Path:
    """The folder at a place; raises ValueError when it is not set or no folder."""
    if name not in places or not Path(places[name]).is_dir():
        found = f"is {places[name]}, no folder" if name in places else "is not set"
        raise ValueError(f"the place {name!r} ({what}) {found}; pass `--place {name}=FOLDER`")
    return Path(places[name])


def audio_root(corpus: "LibriheavyCorpus", places: Mapping[str, Path]) -> Path:
    """The folder that holds small/, medium/ and large/."""
    return place(places, corpus.audio_place, "Libri-Light's audio")


def manifest_path(corpus: "LibriheavyCorpus", subset: str, places: Mapping[str, Path]) -> Path:
    """The manifest of a subset."""
    return place(places, corpus.name, "Libriheavy's manifests") / manifest_name(subset)


def alignments_root(places: Mapping[str, Path]) -> Path:
    """The folder of the alignments."""
    return place(places, ALIGNMENTS_PLACE, "the alignments")


def sources(corpus: "LibriheavyCorpus", places: Mapping[str, Path]) -> tuple[str, ...]:
    """Every manifest and every part of the alignments; the audio's place is checked too.

    Raises ValueError naming the places and files that are missing.
    """
    audio_root(corpus, places)
    paths = {subset: manifest_path(corpus, subset, places) for subset in corpus.splits}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(
            f"{places[corpus.name]} has no {', '.join(missing)}; fetch them from "
            "huggingface.co/datasets/pkufool/libriheavy, or leave the subsets out of the study"
        )
    found = [f"{MANIFEST}:{subset}" for subset in corpus.splits]
    if not isinstance(corpus.alignment, ForcedAlignment):
        parts = corpus.alignment.parts(alignments_root(places))
        found += [f"{ALIGNMENT}:{part.role}:{part.name}" for part in parts]
    return tuple(found)


def part_of(source: str) -> Part:
    """The part of the alignments that a source names."""
    _, role, name = source.split(":", maxsplit=2)
    return Part(role, name)


def alignment_records(
    corpus: "LibriheavyCorpus", source: str, places: Mapping[str, Path], seen: Hash
) -> Iterator[Record]:
    """The records of one source of alignments."""
    assert not isinstance(corpus.alignment, ForcedAlignment)
    return corpus.alignment.records(alignments_root(places), part_of(source), seen)


def digests_of(by_source: Mapping[str, str]) -> dict[str, str]:
    """The digest of all manifests together, and that of all alignments, out of the sources'."""
    return {
        kind: combined_digest({n: d for n, d in by_source.items() if n.startswith(f"{kind}:")})
        for kind in (MANIFEST, ALIGNMENT)
    }


def pinned(corpus: "LibriheavyCorpus", places: Mapping[str, Path]) -> "LibriheavyCorpus":
    """The same corpus with the digests of what lies at its places; reads all of it."""
    by_source: dict[str, str] = {}
    for source in sources(corpus, places):
        seen = hashlib.sha256()
        stream: Iterator[object]
        if source.startswith(f"{MANIFEST}:"):
            path = manifest_path(corpus, source.partition(":")[2], places)
            stream = read_lines(path, seen)
        else:
            stream = alignment_records(corpus, source, places, seen)
        for _ in stream:
            pass
        by_source[source] = seen.hexdigest()
    found, alignment = digests_of(by_source), corpus.alignment
    if not isinstance(alignment, ForcedAlignment):
        alignment = dataclasses.replace(cast(Any, alignment), digest=found[ALIGNMENT])
    return dataclasses.replace(corpus, manifests_digest=found[MANIFEST], alignment=alignment)
