"""What benchmarks that are text alone share: the user's file becomes pairs, and voices read them.

A benchmark's own case and marks may be unlike those of training text, which says little about
grammar or sense, so every such task offers its sentences in lower case without marks.
"""

import re
from pathlib import Path
from typing import NamedTuple, Protocol

from ray_slm.tasks.task import Items

_MARKS = re.compile(r"[^a-z0-9' ]+")


class Sides(NamedTuple):
    """The two texts of a pair."""

    positive: str
    negative: str


class WrittenTask(Protocol):
    """A frozen dataclass whose items are read from the user's copy and spoken by the study."""

    @property
    def name(self) -> str:
        """As in addresses."""
        ...

    @property
    def title(self) -> str:
        """As printed."""
        ...

    @property
    def place(self) -> str:
        """The name under which the user says where the copy lies."""
        ...

    @property
    def digest(self) -> str:
        """What ``digest_of`` says of the copy."""
        ...

    def digest_of(self, folder: Path) -> str:
        """Of the files that the task reads."""
        ...

    def read(self, folder: Path) -> Items:
        """The pairs; ValueError names what is doubled, empty or of another layout."""
        ...


def plainly(sides: Sides, plain: bool) -> Sides:
    """Both texts, in lower case and without marks where that is asked for."""
    if not plain:
        return sides
    words = (" ".join(_MARKS.sub(" ", text.lower()).split()) for text in sides)
    return Sides(*words)
