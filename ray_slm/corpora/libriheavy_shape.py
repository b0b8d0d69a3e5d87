"""A small corpus in the shape of Libriheavy: what the paper's study is rehearsed and tested on.

A prepared corpus (the laptop's, say) becomes chapters in FLAC as Libri-Light has them, manifests
in the three published forms, and its alignment in every format that is read.  What comes out
follows from the corpus folder alone.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ray_slm.corpora import shape_alignments as shapes
from ray_slm.corpora.alignments.ctm import Ctm
from ray_slm.corpora.alignments.kaldi import KaldiPhones
from ray_slm.corpora.alignments.mfa import MfaFiles
from ray_slm.corpora.alignments.source import AlignmentSource
from ray_slm.corpora.alignments.tables import PhoneTable
from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.inventory import SILENCE, STRESSED_ARPABET
from ray_slm.corpora.libriheavy import LibriheavyCorpus
from ray_slm.corpora.libriheavy_sources import manifest_name, pinned
from ray_slm.corpora.shape_manifests import FORMS, ShapedCut, write_manifests
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Utterance, read_utterances

ALIGNMENTS: Mapping[str, AlignmentSource] = {
    "per-frame": KaldiPhones(digest="", form="per-frame"),
    "lengths": KaldiPhones(digest="", form="lengths"),
    "plain": PhoneTable(
        digest="", phones="ali-phones*", durations="durations", symbols="phones.txt"
    ),
    "ctm": Ctm(digest=""),
    "ctm-ids": Ctm(digest="", symbols="phones.txt"),
    "tables": PhoneTable(digest=""),
    "textgrid-long": MfaFiles(digest=""),
    "textgrid-short": MfaFiles(digest=""),
    "json": MfaFiles(digest="", form="json"),
    "csv": MfaFiles(digest="", form="csv"),
}
_TRAIN_SUBSETS = ("small", "medium", "large")
_CUTS_PER_CHAPTER = 8
_PAUSE_SAMPLES = 4_800
_MILLISECOND = 16  # samples: published times are in milliseconds
_SHORTEST_SILENCE = 800  # shorter ones would be left out by some formats and kept by others


class Shape(NamedTuple):
    """Folders of the audio, of each form of manifests, of each name in ALIGNMENTS.

    ``truth`` is what every reader must find.
    """

    audio: Path
    manifests: dict[str, Path]
    alignments: dict[str, Path]
    truth: tuple[Utterance, ...]


class Shaped(NamedTuple):
    """A corpus and the places it is read from."""

    corpus: LibriheavyCorpus
    places: dict[str, Path]


class _Cut(NamedTuple):
    id: str
    subset: str
    recording: str
    start: int
    utterance: Utterance


def build(corpus: Path, target: Path, *, places: Mapping[str, Path] | None = None) -> Shape:
    """Write everything below ``target`` out of the corpus folder ``corpus``.

    Alignments are all moved to Kaldi's grid of 10 ms; every third utterance loses its closing
    silence.  ``places`` are those of the corpus's own audio, if it has external audio.
    """
    cuts: list[_Cut] = []
    lengths: dict[str, int] = {}
    for chapter in _chapters(read_utterances(corpus)):
        made, length = _write_chapter(chapter, corpus, target / "librilight", places or {})
        cuts += made
        lengths[made[0].recording] = length
    manifests = {form: target / form for form in FORMS}
    write_manifests(manifests, _by_subset(cuts, lengths))
    rows = [_framed(cut) for cut in cuts]
    alignments = _write_alignments(rows, target / "alignments")
    truth = tuple(_true(cut, row) for cut, row in zip(cuts, rows, strict=True))
    return Shape(target / "librilight", manifests, alignments, truth)


def shaped_corpus(shape: Shape, form: str = "raw", alignment: str = "per-frame") -> Shaped:
    """The corpus that reads a form of the manifests and of the alignment, digests and all."""
    places = {
        "libriheavy": shape.manifests[form],
        "librilight": shape.audio,
        "alignments": shape.alignments[alignment],
    }
    subsets = {path.name: path for path in shape.manifests[form].iterdir()}
    corpus = LibriheavyCorpus(
        train=tuple(s for s in _TRAIN_SUBSETS if manifest_name(s) in subsets),
        alignment=ALIGNMENTS[alignment],
        num_shards=4,
    )
    return Shaped(pinned(corpus, places), places)


def _by_subset(cuts: Sequence[_Cut], lengths: Mapping[str, int]) -> dict[str, list[ShapedCut]]:
    found: dict[str, list[ShapedCut]] = {}
    for cut in cuts:
        shaped = ShapedCut(
            id=cut.id,
            recording=cut.recording,
            start=cut.start,
            num_samples=cut.utterance.num_samples,
            recording_samples=lengths[cut.recording],
            speaker=cut.utterance.speaker,
            text=cut.utterance.transcript,
        )
        found.setdefault(cut.subset, []).append(shaped)
    return found


def _framed(cut: _Cut) -> shapes.Framed:
    said = cut.utterance
    return shapes.framed(cut.id, said.phones, said.ends, said.num_samples)


def _write_alignments(rows: Sequence[shapes.Framed], root: Path) -> dict[str, Path]:
    shapes.write_kaldi(root, rows, STRESSED_ARPABET.phones)
    shapes.write_ctm(root / "ctm", rows)
    shapes.write_tables(root / "tables", rows)
    for name, (suffix, spell) in shapes.FILE_FORMS.items():
        shapes.write_per_utterance(root / name, rows, suffix, spell)
    return {name: root / name for name in ALIGNMENTS}


def _true(cut: _Cut, row: shapes.Framed) -> Utterance:
    ends = tuple(shapes.FRAME_SAMPLES * end for end in itertools.accumulate(row.frames))
    audio = f"librilight:{cut.recording}.flac"
    return dataclasses.replace(
        cut.utterance,
        id=cut.id,
        book=PurePosixPath(cut.recording).parent.name,
        audio=audio,
        start=cut.start,
        ends=ends,
        aligned_by="",
    )


def _chapters(utterances: Iterable[Utterance]) -> Iterator[tuple[str, list[Utterance]]]:
    """(recording id, its utterances): one voice's reading of one book, in order of the ids."""
    ordered = sorted(utterances, key=lambda u: (u.split, u.speaker, u.book, u.id))
    speakers = sorted({u.speaker for u in ordered})
    number = 0
    for (split, speaker, book), group in itertools.groupby(
        ordered, key=lambda u: (u.split, u.speaker, u.book)
    ):
        every = list(group)
        for at in range(0, len(every), _CUTS_PER_CHAPTER):
            subset = _TRAIN_SUBSETS[number % 3] if split == "train" else split
            folder = f"{subset if split == 'train' else 'small'}/{100 + speakers.index(speaker)}"
            chapter = f"{at // _CUTS_PER_CHAPTER + 1:02d}_{book.replace('-', '')}_64kb"
            recording = f"{folder}/{book.replace('-', '_')}_librivox_64kb_mp3/{chapter}"
            number += 1
            yield f"{subset}:{recording}", every[at : at + _CUTS_PER_CHAPTER]


def _write_chapter(
    chapter: tuple[str, list[Utterance]], corpus: Path, root: Path, places: Mapping[str, Path]
) -> tuple[list[_Cut], int]:
    """The cuts of one FLAC file, and how many samples it has."""
    import soundfile

    subset, _, recording = chapter[0].partition(":")
    cuts: list[_Cut] = []
    pause_S = np.zeros(_PAUSE_SAMPLES, dtype=np.int16)
    pieces, cursor = [pause_S], _PAUSE_SAMPLES
    for number, utterance in enumerate(chapter[1]):
        pcm_S = np.round(read_audio(corpus, utterance, places) * 32768).astype(np.int16)
        shaped = _shaped(utterance, without_end=number % 3 == 2)
        pieces += [pcm_S[: shaped.num_samples], pause_S]
        cuts.append(_Cut(f"{recording}_{number}", subset, recording, cursor, shaped))
        cursor += shaped.num_samples + _PAUSE_SAMPLES
    path = root / f"{recording}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(pieces), SAMPLE_RATE_HZ, subtype="PCM_16")
    return cuts, cursor


def _shaped(utterance: Utterance, *, without_end: bool) -> Utterance:
    """Whole milliseconds of audio, no pause under 50 ms, and no closing silence if so wanted."""
    phones, ends = list(utterance.phones), list(utterance.ends)
    num_samples = utterance.num_samples
    if without_end and phones[-1] == SILENCE and len(phones) > 1:
        phones.pop()
        ends.pop()
        num_samples = ends[-1]
    num_samples -= num_samples % _MILLISECOND
    ends[-1] = num_samples
    kept: list[tuple[str, int]] = []
    for phone, begin, end in zip(phones, [0, *ends], ends, strict=False):
        short = phone == SILENCE and end - begin < _SHORTEST_SILENCE
        if short and kept:
            kept[-1] = (kept[-1][0], end)
        elif not short:
            kept.append((phone, end))
    return dataclasses.replace(
        utterance,
        phones=tuple(phone for phone, _ in kept),
        ends=tuple(end for _, end in kept),
        num_samples=num_samples,
    )
