"""The seam between encoders and units: what a feature extractor promises.

An extractor is a frozen value (it is identity); ``load`` turns it into an encoder on a device.
Batch invariance is part of the promise: the shape in which an utterance is encoded follows from
its own length (``bucket``), never from who else is there, so features are the same alone and
among others.
Legend: S samples at 16 kHz, U frames at 50 Hz, D width of a frame.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ray_slm.units.batches import Bucket

if TYPE_CHECKING:
    import torch

FRAME_RATE_HZ = 50


class Encoder(Protocol):
    """A loaded extractor.  ``dim`` is D."""

    dim: int

    def bucket(self, num_samples: int) -> Bucket:
        """With utterances of which lengths, and how many, one of this length may be encoded."""
        ...

    def encode(self, waveforms: Sequence[np.ndarray]) -> "list[torch.Tensor]":
        """float32 features (U, D) of each waveform (S,) on the device, U = ``frame_count(S)``.

        The waveforms are of one bucket, and no more than its rows.  Raises ValueError when one is
        shorter than a frame or longer than can be read.
        """
        ...


class FeatureExtractor(Protocol):
    """What a file of units/ defines: a frozen dataclass with these members."""

    @property
    def max_samples(self) -> int | None:
        """The longest waveform that can be read whole, None for any."""
        ...

    def load(self, places: Mapping[str, Path], device: str) -> Encoder:
        """The encoder, its weights verified by digest.  Raises ValueError naming the remedy."""
        ...


def verify_digest(path: Path, sha256: str | None, name: str) -> None:
    """Refuse weights that are not the pinned ones.  An unpinned extractor is refused too."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is None:
        raise ValueError(
            f"{name}: the weights are not pinned; {path} has sha256 {found}: if these are the "
            f'weights you mean, write sha256="{found}" into the extractor of your study'
        )
    if found != sha256:
        raise ValueError(
            f"{name}: {path} has sha256 {found}, but {sha256} is pinned; put the pinned weights "
            "there, or pin these in your study (a new identity)"
        )
