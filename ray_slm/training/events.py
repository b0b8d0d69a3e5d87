"""What happens during a run, for whoever wants to hear: the cluster adaptor, record writers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Events(Protocol):
    """An exception raised in one of these ends the run as a kill would."""

    def published(self, tokens: int, folder: Path) -> None:
        """Rank 0, from the thread that writes: what was scheduled at ``tokens`` lies in ``folder``.

        That is a checkpoint, or the state that a branch starts from.  Called again for the same
        folder when a run was killed before it could note the first.
        """
        ...

    def saved(self) -> None:
        """Rank 0, from the thread that writes: the scratch folder has a new resume checkpoint."""
        ...

    def step(self, point: Mapping[str, float]) -> bool:
        """Every rank, after each step.  True on rank 0 asks for a resume checkpoint at once."""
        ...


class Silent:
    """Events that nobody listens to."""

    def published(self, tokens: int, folder: Path) -> None:
        """Do nothing."""

    def saved(self) -> None:
        """Do nothing."""

    def step(self, point: Mapping[str, float]) -> bool:
        """Ask for nothing."""
        return False
