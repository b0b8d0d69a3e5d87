"""A task: named minimal pairs, made from a prepared corpus, whose items are utterances too.

Items are prepared like a corpus (same folder layout, split "items"), so every modality tokenizes
them with the code that tokenizes training data.  ``pairs.parquet`` says which belong together.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple, Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two forms of one item: a model is right when it prefers ``positive`` to ``negative``.

    ``cluster`` is the unit of resampling (sWUGGY word, sBLIMP subtype, story).  ``baselines``
    holds scores a letter n-gram gives each side, to show how easy the pair is without a model.
    """

    id: str
    type: str
    subtype: str
    cluster: str
    positive: str  # transcripts
    negative: str
    band: str = ""  # frequency band, where the task has one


class Items(NamedTuple):
    """What a task makes: its pairs, and remarks for the report (e.g. n-gram baselines)."""

    pairs: tuple[Pair, ...]
    remarks: dict[str, object]


class NamedTask(Protocol):
    """What every task has, whether its pairs are made, read or recorded."""

    @property
    def name(self) -> str:
        """As in addresses."""
        ...

    @property
    def title(self) -> str:
        """As printed."""
        ...


class Task(Protocol):
    """A frozen dataclass with these members; every field is identity.

    Tasks of published benchmarks read the user's copy instead: see ``recorded`` and ``written``.
    """

    @property
    def name(self) -> str:
        """As in addresses: "swuggy", "sblimp", "topic-storycloze"."""
        ...

    @property
    def title(self) -> str:
        """As printed, e.g. "sWUGGY-style"."""
        ...

    def items(self, corpus: Path) -> Items:
        """Pairs made from a prepared corpus folder; deterministic; never from training sentences
        where the task is about generalization."""
        ...
