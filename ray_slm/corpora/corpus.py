"""The seam between a study and a corpus: what a corpus file defines.

A corpus is a frozen value whose fields are its identity.  First what concerns the whole is read,
source by source (``survey``) and judged once (``settle``); then shards are prepared; then
``finish`` checks everything together and writes ``corpus.json``.  Sources and shards are each
independent: any order, any worker, the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Corpus(Protocol):
    """A frozen dataclass with these members.

    ``max_bad_fraction`` is per quarantine reason, of preparing and of each tokenizing.
    """

    @property
    def name(self) -> str:
        """How people call it; part of the address of everything made from it."""
        ...

    @property
    def num_shards(self) -> int:
        """Shards of the utterance table; an id's shard is ``utterance.shard_of``."""
        ...

    @property
    def max_bad_fraction(self) -> float:
        """Largest share of candidates that one reason may put into quarantine."""
        ...

    def sources(self, places: Mapping[str, Path]) -> tuple[str, ...]:
        """What must be read as a whole before any shard, in parts; () when nothing must."""
        ...

    def survey(self, source: str, folder: Path, places: Mapping[str, Path]) -> None:
        """Read one source; what shards need of it goes into the scratch of ``folder``."""
        ...

    def settle(self, folder: Path, places: Mapping[str, Path]) -> None:
        """After every survey, once: refuse what is not what the value says, digests above all."""
        ...

    def prepare_shard(self, shard: int, folder: Path, places: Mapping[str, Path]) -> None:
        """Write one shard of utterances, its audio and its quarantine into ``folder``."""
        ...

    def finish(self, folder: Path) -> dict[str, object]:
        """Check all shards together, write ``corpus.json`` and return what it says."""
        ...


def scratch(folder: Path) -> Path:
    """Working state of a corpus folder: no part of the result."""
    return folder / "scratch"


def prepare_all(corpus: Corpus, folder: Path, places: Mapping[str, Path]) -> dict[str, object]:
    """Every step in this process; the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in corpus.sources(places):
        corpus.survey(source, folder, places)
    corpus.settle(folder, places)
    for shard in range(corpus.num_shards):
        corpus.prepare_shard(shard, folder, places)
    return corpus.finish(folder)
