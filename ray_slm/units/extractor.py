"""The seam between encoders and units: what a feature extractor promises.

An extractor is a frozen value (it is identity); ``load`` turns it into an encoder on a device.
Batch invariance is part of the promise: an encoder sees one utterance at a time and never pads it
to a neighbor, so features are the same alone and among others.
Legend: S samples at 16 kHz, U frames at 50 Hz, D width of a frame.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

FRAME_RATE_HZ = 50


class Encoder(Protocol):
    """A loaded extractor.  ``dim`` is D."""

    dim: int

    def encode(self, waveform_S: np.ndarray) -> "torch.Tensor":
        """float32 features (U, D) on the encoder's device, U = ``frame_count(S)``.

        Raises ValueError when the waveform is shorter than a frame or longer than can be read.
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
