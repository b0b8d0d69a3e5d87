"""Features from an inner block of Whisper's encoder, at 50 Hz, for the laptop's speech units.

Whisper reads 30 s and is trained on padded windows; here the position table is cropped instead,
because padding changes the features.  The log-mel floor hangs on the loudest frame, hence whole
utterances only.  Whisper learned from transcripts: a report must say so (science: section 13).
Legend: S samples, U frames, D width, M mel bands, F mel frames (10 ms).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ray_slm.corpora.alignment import frame_count
from ray_slm.corpora.assets import locate
from ray_slm.units.batches import Bucket
from ray_slm.units.ct2 import dimensions, read_container, whisper_state
from ray_slm.units.extractor import verify_digest

if TYPE_CHECKING:
    import torch

MAX_SAMPLES = 480_000  # 30 s: the position table ends there
TINY_EN_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"


class WhisperEncoder:
    """The first blocks of Whisper's encoder on a device."""

    def __init__(self, arrays: dict[str, np.ndarray], block: int, device: str) -> None:
        import torch
        from whisper.model import AudioEncoder

        sizes = dimensions(arrays)
        if not 1 <= block <= sizes["n_audio_layer"]:
            raise ValueError(f"block is {block}: the encoder has 1 to {sizes['n_audio_layer']}")
        self.dim = sizes["n_audio_state"]
        self._num_mels, self._device = sizes["n_mels"], device
        self._encoder: Any = AudioEncoder(
            self._num_mels, sizes["n_audio_ctx"], self.dim, sizes["n_audio_head"], block
        )
        wanted = set(self._encoder.state_dict())
        stored = {
            name.removeprefix("encoder."): torch.from_numpy(array)
            for name, array in whisper_state(arrays).items()
        }
        state = {name: array for name, array in stored.items() if name in wanted}
        self._encoder.load_state_dict(state, strict=True)
        self._encoder.eval().to(device)

    def bucket(self, num_samples: int) -> Bucket:
        """One at a time, never padded."""
        return Bucket(num_samples, rows=1)

    def encode(self, waveforms: Sequence[np.ndarray]) -> "list[torch.Tensor]":
        """float32 (U, D), the output of the last block kept, before any final norm.

        Raises ValueError for a waveform below 25 ms or above 30 s.
        """
        return [self._encode(waveform_S) for waveform_S in waveforms]

    def _encode(self, waveform_S: np.ndarray) -> "torch.Tensor":
        import torch
        from torch.nn.functional import gelu
        from whisper.audio import log_mel_spectrogram

        num_frames = frame_count(len(waveform_S))
        if num_frames == 0 or len(waveform_S) > MAX_SAMPLES:
            raise ValueError(f"Whisper reads 400 to {MAX_SAMPLES} samples, got {len(waveform_S)}")
        encoder = self._encoder
        with torch.inference_mode():
            mel_MF = log_mel_spectrogram(waveform_S, self._num_mels, device=self._device)
            x_1UD = gelu(encoder.conv2(gelu(encoder.conv1(mel_MF[None])))).permute(0, 2, 1)
            x_1UD = x_1UD + encoder.positional_embedding[: x_1UD.shape[1]]
            for block in encoder.blocks:
                x_1UD = block(x_1UD)
            return x_1UD[0, :num_frames].contiguous()


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhisperBlock:
    """The output of encoder block ``block`` (from 1) of the asset ``checkpoint``."""

    REVISION: ClassVar[int] = 1

    checkpoint: str = "whisper-tiny-en"
    sha256: str = TINY_EN_SHA256
    block: int = 3

    @property
    def max_samples(self) -> int | None:
        """30 s."""
        return MAX_SAMPLES

    def load(self, places: Mapping[str, Path], device: str) -> WhisperEncoder:
        """The encoder.  Raises ValueError for a missing or different file, or no such block."""
        path = locate(places, self.checkpoint)
        verify_digest(path, self.sha256, self.checkpoint)
        return WhisperEncoder(read_container(path).arrays, self.block, device)
