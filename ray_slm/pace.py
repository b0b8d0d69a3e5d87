"""How fast audio is being worked through: a small file that a driver writes and a terminal reads.

Hours of audio per hour are the figure by which tokenizing is planned; nobody publishes theirs.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

FILE = "pace.json"


class Pace(NamedTuple):
    """Seconds of audio: done before this run, done in it, and in all; and for how long it runs."""

    before: float
    done: float
    total: float
    elapsed_seconds: float

    @property
    def hours_per_hour(self) -> float:
        """Audio worked through in this run, in times real time."""
        return self.done / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until the rest is done at this pace; None before anything is."""
        if self.done == 0:
            return None
        return (self.total - self.before - self.done) / self.hours_per_hour

    def __str__(self) -> str:
        share = (self.before + self.done) / self.total if self.total else 1.0
        left = self.seconds_left
        if left is None:
            return f"{share:.0%}"
        minutes, seconds = divmod(round(left), 60)
        return f"{share:.0%} at {self.hours_per_hour:,.0f} h/h, {minutes}:{seconds:02d} left"


class Pacer:
    """Counts audio as it is done, and writes the pace into a folder of working state."""

    def __init__(self, scratch: Path, *, before: float, total: float) -> None:
        self._path = scratch / FILE
        self._start = time.monotonic()
        self._pace = Pace(before, 0.0, total, 0.0)
        self._write()

    def add(self, seconds: float) -> None:
        """So much more audio is done."""
        elapsed = time.monotonic() - self._start
        self._pace = self._pace._replace(done=self._pace.done + seconds, elapsed_seconds=elapsed)
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".tmp")
        draft.write_text(json.dumps(self._pace._asdict()))
        draft.replace(self._path)


def read_pace(scratch: Path) -> Pace | None:
    """The pace last written, or None where nothing is being worked through."""
    path = scratch / FILE
    return Pace(**json.loads(path.read_text())) if path.is_file() else None
