"""The seam between a study and a corpus: what a corpus file defines.

A corpus is a frozen value whose fields are its identity.  Shards are prepared independently, in
any order and on any worker; ``finish`` then checks the whole and writes ``corpus.json``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Corpus(Protocol):
    """A frozen dataclass with these members; ``max_bad_fraction`` is per quarantine reason."""

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

    def prepare_shard(self, shard: int, folder: Path, places: Mapping[str, Path]) -> None:
        """Write one shard of utterances, its audio and its quarantine into ``folder``."""
        ...

    def finish(self, folder: Path) -> dict[str, object]:
        """Check all shards together, write ``corpus.json`` and return what it says."""
        ...
