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


def sides_of(item: str, positive: str, negative: str, *, plain: bool) -> Sides:
    """Both texts, in lower case and without marks where that is asked for.

    Raises ValueError naming ``item`` where a text is empty or both are equal: nothing to decide.
    """
    texts: tuple[str, ...] = (positive, negative)
    if plain:
        texts = tuple(" ".join(_MARKS.sub(" ", text.lower()).split()) for text in texts)
    if not all(text.strip() for text in texts) or texts[0] == texts[1]:
        raise ValueError(f"{item}: a text is empty, or both are equal: {texts[0]!r}, {texts[1]!r}")
    return Sides(*texts)
