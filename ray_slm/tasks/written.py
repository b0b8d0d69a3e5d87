"""What benchmarks that are text alone share: the user's file becomes pairs, and voices read them.

A benchmark's own case and marks may be unlike those of training text, which says little about
grammar or sense, so every such task offers its sentences in lower case without marks.
"""

import re
from typing import NamedTuple

_MARKS = re.compile(r"[^a-z0-9' ]+")


class Sides(NamedTuple):
    """The two texts of a pair."""

    positive: str
    negative: str


def plainly(sides: Sides, plain: bool) -> Sides:
    """Both texts, in lower case and without marks where that is asked for."""
    if not plain:
        return sides
    words = (" ".join(_MARKS.sub(" ", text.lower()).split()) for text in sides)
    return Sides(*words)
