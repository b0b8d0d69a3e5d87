"""Libriheavy as it is published: lhotse manifests over the user's own copy of Libri-Light.

Manifests and alignments are read once, as streams, and put down by shard; a shard then holds in
memory what concerns it alone.  Audio stays where it is: utterances say where it begins.
Kang et al. (2023), arXiv 2309.08105; github.com/k2-fsa/libriheavy.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from ray_slm.corpora import libriheavy_survey as surveys
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.alignments.source import AlignmentSource
from ray_slm.corpora.finish import SUMMARY, finish
from ray_slm.corpora.held_out import (
    Held,
    held_out_passages,
    sentences_of,
    trained_on,
    write_held_out,
)
from ray_slm.corpora.inventory import STRESSED_ARPABET, Inventory
from ray_slm.corpora.libriheavy_shard import CutsInTheMaking
from ray_slm.corpora.libriheavy_sources import sources
from ray_slm.corpora.shard import CANDIDATES, summed_counts, write_json

_LONGEST_PAUSE_SAMPLES = 16_000  # between cuts; a sentence that was dropped lasts longer
POCKETSPHINX = ForcedAlignment()
# Hours of the published subsets, for plans (README of the corpus).
_HOURS = {
    "small": 509.0,
    "medium": 5042.0 - 509.0,
    "large": 50_794.0 - 5042.0,
    "dev": 22.3,
    "test_clean": 10.5,
    "test_other": 11.5,
    "test_clean_large": 107.5,
    "test_other_large": 100.3,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LibriheavyCorpus:
    """Manifests at the place ``name``, audio at ``audio_place``, alignments at ``alignments``.

    ``manifests_digest`` pins the manifests ``libriheavy_cuts_<subset>.jsonl.gz`` of all subsets;
    run with an empty one, and the message says what to paste.  Raw and extracted manifests are
    read alike.  ``train`` names subsets (they are disjoint: Libriheavy-large is all three),
    ``dev`` those of the split "dev"; each of ``test`` is a split of its own name.

    ``audio_prefix`` is what manifests have in front of paths below the audio's root.
    ``transcript`` chooses the book's text or the recognizer's (raw manifests only); ``normalizer``
    "cased" keeps case and 15 marks (``text.clean_text``), "upper" letters, digits and apostrophes.
    ``alignment`` says where phones come from; an utterance that its files lack is aligned by
    ``fall_back``, or goes into quarantine where that is None; where a text has numerals,
    pocketsphinx aligns what the recognizer understood.  ``inventory`` is the phones.
    Longer cuts than ``max_seconds`` are left out.  ``max_bad_fraction`` is per quarantine reason.
    """

    REVISION: ClassVar[int] = 1

    name: str = "libriheavy"
    manifests_digest: str = ""
    train: tuple[str, ...] = ("small", "medium", "large")
    dev: tuple[str, ...] = ("dev",)
    test: tuple[str, ...] = ()
    audio_place: str = "librilight"
    audio_prefix: str = "download/librilight/"
    transcript: Literal["book", "asr"] = "book"
    normalizer: Literal["cased", "upper"] = "cased"
    alignment: AlignmentSource | ForcedAlignment = POCKETSPHINX
    fall_back: ForcedAlignment | None = None
    inventory: Inventory = STRESSED_ARPABET
    num_shards: int = 2048
    max_seconds: float = 40.0
    max_bad_fraction: float = 0.005

    def __post_init__(self) -> None:
        """Refuse what no corpus can be made of."""
        subsets = [*self.train, *self.dev, *self.test]
        if not self.train or not self.dev or len(set(subsets)) != len(subsets):
            raise ValueError(f"train, dev and test have the subsets {subsets}: some, each once")
        if self.transcript not in ("book", "asr") or self.normalizer not in ("cased", "upper"):
            raise ValueError(
                f"transcript={self.transcript!r} must be 'book' or 'asr', "
                f"normalizer={self.normalizer!r} 'cased' or 'upper'"
            )
        if not (self.num_shards > 0 and self.max_seconds > 0 and 0 <= self.max_bad_fraction <= 1):
            raise ValueError(
                f"num_shards={self.num_shards} and max_seconds={self.max_seconds} must be "
                f"positive, max_bad_fraction={self.max_bad_fraction} from 0 to 1"
            )

    @property
    def splits(self) -> dict[str, str]:
        """The split of each subset."""
        of_train, of_dev = dict.fromkeys(self.train, "train"), dict.fromkeys(self.dev, "dev")
        return {**of_train, **of_dev, **{subset: subset for subset in self.test}}

    @property
    def audio_hours(self) -> float:
        """Of all splits, as published, for plans; subsets of other names count as none."""
        return sum(_HOURS.get(subset, 0.0) for subset in self.splits)

    def sources(self, places: Mapping[str, Path]) -> tuple[str, ...]:
        """Every manifest, and every part of the alignments; raises ValueError for missing ones."""
        return sources(self, places)

    def survey(self, source: str, folder: Path, places: Mapping[str, Path]) -> None:
        """Put the cuts of a manifest, or the records of alignments, down by shard."""
        surveys.survey(self, source, folder, places)

    def settle(self, folder: Path, places: Mapping[str, Path]) -> None:
        """Refuse manifests and alignments other than those that the digests mean."""
        surveys.settle(self, folder, places)

    def prepare_shard(self, shard: int, folder: Path, places: Mapping[str, Path]) -> None:
        """Decode, check and align the cuts of one shard."""
        cuts = surveys.cuts(self, folder, shard)
        ids = frozenset(each.cut.id for each in cuts)
        work = CutsInTheMaking(self, places, surveys.alignments(folder, shard, ids))
        work.prepare(cuts)
        work.made.publish(folder, shard)

    def finish(self, folder: Path) -> dict[str, object]:
        """Check the shards together; the summary has their counts and what was read too.

        Raises ValueError as ``finish.finish`` does, and when a recording is trained on and held
        out at once.
        """
        counts = summed_counts(folder, self.num_shards)
        read = surveys.what_was_read(folder)
        candidates = surveys.num_cuts(read)
        del counts[CANDIDATES]
        summary = finish(folder, candidates=candidates, max_bad_fraction=self.max_bad_fraction)
        shared = {name: trained_on(folder, name) for name in ("audio", "book", "speaker")}
        if shared["audio"]:
            raise ValueError(
                f"{len(shared['audio'])} recordings are trained on and held out at once, "
                f"{shared['audio'][0]} the first; leave one of the subsets out"
            )
        summary["shared by train and other splits"] = {k: len(v) for k, v in shared.items()}
        write_held_out(folder, sentences_of(held_out_passages(folder, _place_in_audio, _follows)))
        summary["counts"] = dict(sorted(counts.items()))
        summary["read"] = read
        write_json(folder / SUMMARY, summary)
        return summary


def _place_in_audio(utterance: Held) -> tuple[str, int]:
    return utterance.audio, utterance.start


def _follows(before: Held, after: Held) -> bool:
    """Whether two cuts touch: a book's text has no gap where its reading has none."""
    pause = after.start - (before.start + before.num_samples)
    return after.audio == before.audio and abs(pause) <= _LONGEST_PAUSE_SAMPLES
