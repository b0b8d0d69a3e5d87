"""A corpus out of a user's own directory of recordings and transcripts.

Clips are name.wav or name.flac, in folders as deep as one likes; what is said stands in name.txt
beside them or in one metadata.csv.  Phones come from forced alignment, their stress from CMUdict.
"""

import collections
import dataclasses
import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ray_slm.corpora.aligner import Aligner, letter_to_sound
from ray_slm.corpora.assets import locate
from ray_slm.corpora.finish import SUMMARY, finish, quarantine_path, write_quarantine
from ray_slm.corpora.folder_shard import ShardInTheMaking
from ray_slm.corpora.folder_survey import Candidate, folder_digest, survey
from ray_slm.corpora.lexicon import read_cmudict
from ray_slm.corpora.synthesis import audio_name
from ray_slm.corpora.utterance import shard_of, shard_path, write_utterances


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
        if self.name not in places:
            raise ValueError(
                f"the corpus {self.name!r} is looked for in the place of that name, which is not "
                f"set; pass `--place {self.name}=FOLDER`"
            )
        root = Path(places[self.name])
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

    def prepare_shard(self, shard: int, folder: Path, places: Mapping[str, Path]) -> None:
        """Decode, check and align the clips of one shard.

        Writes its audio, its quarantine, its counts and, last, its utterance table: a shard whose
        table exists is whole.  Ids in = ids in the table + ids in quarantine.
        """
        everything = self.candidates(places)
        mine = [c for c in everything if shard_of(c.id, self.num_shards) == shard]
        aligner = _aligner(locate(places, "cmudict"), self.letter_to_sound)
        (folder / "scratch").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder / "scratch") as scratch:
            made = Path(scratch)
            work = ShardInTheMaking(
                self.root(places), aligner, max_seconds=self.max_seconds, seed=self.seed
            )
            work.prepare(mine, made / audio_name(shard), shard)
            _write_json(_counts_path(made, shard), {"candidates": len(mine), **work.counts})
            write_quarantine(made, shard, work.quarantined)
            write_utterances(made, shard, work.utterances)
            for path in (
                made / audio_name(shard),
                _counts_path(made, shard),
                quarantine_path(made, shard),
                shard_path(made, shard),
            ):
                target = folder / path.relative_to(made)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)

    def finish(self, folder: Path) -> dict[str, object]:
        """Check the shards together; the summary has the sums of their counts too.

        Raises ValueError as ``finish.finish`` does, and when train or dev came out empty.
        """
        counts: collections.Counter[str] = collections.Counter()
        for shard in range(self.num_shards):
            path = _counts_path(folder, shard)
            if not path.is_file():
                raise ValueError(f"{path} is missing: shard {shard} has not been prepared")
            counts.update(json.loads(path.read_text()))
        candidates = counts.pop("candidates")
        summary = finish(folder, candidates=candidates, max_bad_fraction=self.max_bad_fraction)
        splits = summary["splits"]
        assert isinstance(splits, dict)
        empty = sorted({"train", "dev"} - splits.keys())
        if empty:
            raise ValueError(f"{folder}: all of {empty[0]} went into quarantine; see {SUMMARY}")
        summary["counts"] = dict(sorted(counts.items()))
        _write_json(folder / SUMMARY, summary)
        return summary


@functools.cache
def _aligner(cmudict: Path, with_letter_to_sound: bool) -> Aligner:
    """One per process.  Whether flite is there must not decide what a study's data are."""
    pronounce = letter_to_sound() if with_letter_to_sound else None
    if with_letter_to_sound and pronounce is None:
        raise ValueError(
            "letter_to_sound=True needs flite, which is not installed; run `apt-get install "
            "flite`, or set letter_to_sound=False: words in no dictionary are then left out"
        )
    return Aligner(read_cmudict(cmudict), pronounce)


def _counts_path(folder: Path, shard: int) -> Path:
    return folder / "counts" / f"shard-{shard:05d}.json"


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)
