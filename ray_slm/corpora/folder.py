"""A corpus out of a user's own directory of recordings and transcripts.

Clips are name.wav or name.flac, in folders as deep as one likes; what is said stands in name.txt
beside them or in one metadata.csv.  Phones come from forced alignment, their stress from CMUdict.
"""

import dataclasses
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.corpus import scratch
from ray_slm.corpora.finish import SUMMARY, finish
from ray_slm.corpora.folder_shard import ClipsInTheMaking
from ray_slm.corpora.folder_survey import Candidate, folder_digest, survey
from ray_slm.corpora.held_out import Held, held_out_passages, sentences_of, write_held_out
from ray_slm.corpora.scatter import Scatter, gather
from ray_slm.corpora.shard import CANDIDATES, summed_counts, write_json
from ray_slm.corpora.synthesis import audio_name
from ray_slm.corpora.utterance import shard_of

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderCorpus:
    """The directory that lies at the place ``name`` and has the content ``digest``.

    An id is the relative path without suffix, dots for slashes.  The speaker is metadata.csv's,
    else the top folder.  Splits are metadata.csv's, else whole speakers are held out when there
    are three or more, else single clips, by seeded hash; a fraction is one of speakers or clips.
    ``max_bad_fraction`` is per quarantine reason.  ``letter_to_sound`` lets flite pronounce words
    that no dictionary has; without it, utterances with such words go into quarantine.
    """

    REVISION: ClassVar[int] = 1

    name: str = "folder"
    digest: str
    dev_fraction: float = 0.05
    test_fraction: float = 0.05
    seed: int = 0
    num_shards: int = 16
    max_seconds: float = 30.0
    max_bad_fraction: float = 0.005
    letter_to_sound: bool = True

    def __post_init__(self) -> None:
        """Refuse what no corpus can be made of."""
        dev, test = self.dev_fraction, self.test_fraction
        if not (0 < dev < 1 and 0 <= test < 1 and dev + test < 1):
            raise ValueError(
                f"dev_fraction={dev} must be above 0, test_fraction={test} at least 0, and "
                "their sum below 1"
            )
        if not (self.num_shards > 0 and self.max_seconds > 0 and 0 <= self.max_bad_fraction <= 1):
            raise ValueError(
                f"num_shards={self.num_shards} and max_seconds={self.max_seconds} must be "
                f"positive, max_bad_fraction={self.max_bad_fraction} from 0 to 1"
            )

    def root(self, places: Mapping[str, Path]) -> Path:
        """The directory; raises ValueError unless it is there and is the one the study means."""
        root = self._place(places)
        found = folder_digest(root)
        if found != self.digest:
            raise ValueError(
                f"{root} is not the folder that the study means by digest={self.digest!r}; if "
                f'it should be, paste digest="{found}" into the study'
            )
        return root

    def candidates(self, places: Mapping[str, Path]) -> list[Candidate]:
        """Every id of the directory, sorted; raises ValueError as ``root`` and ``survey`` do."""
        return survey(self.root(places), self.seed, self.dev_fraction, self.test_fraction)

    def sources(self, places: Mapping[str, Path]) -> tuple[str, ...]:
        """The directory, which is hashed and listed once."""
        return ("directory",)

    def survey(self, source: str, folder: Path, places: Mapping[str, Path]) -> None:
        """Check the digest, and put every id down by shard."""
        with Scatter(_surveyed(folder), self.num_shards) as down:
            for candidate in self.candidates(places):
                shard = shard_of(candidate.id, self.num_shards)
                down.add(shard, candidate.id.encode(), msgspec.msgpack.encode(candidate))

    def settle(self, folder: Path, places: Mapping[str, Path]) -> None:
        """Nothing is left to judge: the survey refuses another directory."""

    def prepare_shard(self, shard: int, folder: Path, places: Mapping[str, Path]) -> None:
        """Decode, check and align the clips of one shard."""
        decode = msgspec.msgpack.Decoder(Candidate).decode
        mine = [decode(content) for _, content in gather(_surveyed(folder), shard)]
        forced = ForcedAlignment(letter_to_sound=self.letter_to_sound, seed=self.seed)
        work = ClipsInTheMaking(
            self._place(places), forced, forced.load(places), max_seconds=self.max_seconds
        )
        with tempfile.TemporaryDirectory(dir=scratch(folder)) as name:
            wave = Path(name) / "shard.wav"
            work.prepare(mine, wave, shard)
            work.made.publish(folder, shard, audio=(wave, audio_name(shard)))

    def finish(self, folder: Path) -> dict[str, object]:
        """Check the shards together, write held_out.jsonl; the summary has the shards' counts.

        Raises ValueError as ``finish.finish`` does, and when train or dev came out empty.
        """
        counts = summed_counts(folder, self.num_shards)
        candidates = counts.pop(CANDIDATES)
        summary = finish(folder, candidates=candidates, max_bad_fraction=self.max_bad_fraction)
        splits = summary["splits"]
        assert isinstance(splits, dict)
        empty = sorted({"train", "dev"} - splits.keys())
        if empty:
            raise ValueError(f"{folder}: all of {empty[0]} went into quarantine; see {SUMMARY}")
        write_held_out(folder, sentences_of(held_out_passages(folder, _reading_order, _follows)))
        summary["counts"] = dict(sorted(counts.items()))
        write_json(folder / SUMMARY, summary)
        return summary

    def _place(self, places: Mapping[str, Path]) -> Path:
        if self.name not in places:
            raise ValueError(
                f"the corpus {self.name!r} is looked for in the place of that name, which is not "
                f"set; pass `--place {self.name}=FOLDER`"
            )
        return Path(places[self.name])


def _surveyed(folder: Path) -> Path:
    return scratch(folder) / "survey"


def _reading_order(utterance: Held) -> tuple[int | str, ...]:
    """Clips follow each other as their ids do, numbers in them by value."""
    return tuple(int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", utterance.id))


def _follows(before: Held, after: Held) -> bool:
    """Whether nothing lies between two clips: ids equal but for the last number, one higher."""
    one, two = (_NUMBERED.fullmatch(each.id) for each in (before, after))
    if one is None or two is None or (one[1], one[3]) != (two[1], two[3]):
        return False
    return int(two[2]) - int(one[2]) == 1
