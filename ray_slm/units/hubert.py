"""Features from a layer of HuBERT, WavLM or wav2vec 2.0, read by transformers from a folder.

The paper's speech units come from HuBERT-Large.  One utterance is encoded at a time: padded
batches change the features, most of all where the convolutions are normalized over time
("group" norm, the Base models), which mixes padding into every frame.
Legend: S samples, U frames, D width.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ray_slm.corpora.alignment import frame_count
from ray_slm.units.extractor import verify_digest

if TYPE_CHECKING:
    import torch

FAMILY = ("hubert", "wav2vec2", "wavlm")
WEIGHTS, SETTINGS = "model.safetensors", "preprocessor_config.json"
VARIANCE_FLOOR = 1e-7  # as the feature extractors of transformers


class HubertEncoder:
    """A model cut after the layer that is read, on a device."""

    def __init__(self, model: Any, layer: int, normalize: bool, device: str) -> None:
        num_layers = len(model.encoder.layers)
        if not 0 <= layer <= num_layers:
            raise ValueError(f"layer is {layer}: the model has 0 to {num_layers}")
        # one layer more than read: what comes last may get a final norm that inner layers lack
        model.encoder.layers = model.encoder.layers[: layer + 1]
        self.dim = int(model.config.hidden_size)
        self._model, self._layer = model.eval().to(device), layer
        self._normalize, self._device = normalize, device

    def encode(self, waveform_S: np.ndarray) -> "torch.Tensor":
        """float32 (U, D), hidden state ``layer``.  Raises ValueError for less than 25 ms."""
        import torch

        num_frames = frame_count(len(waveform_S))
        if num_frames == 0:
            raise ValueError(f"HuBERT reads 400 samples or more, got {len(waveform_S)}")
        with torch.inference_mode():
            samples_S = torch.from_numpy(waveform_S).to(self._device, torch.float32)
            if self._normalize:
                centered_S = samples_S - samples_S.mean()
                samples_S = centered_S / (centered_S.square().mean() + VARIANCE_FLOOR).sqrt()
            output = self._model(samples_S[None], output_hidden_states=True)
        features_UD = output.hidden_states[self._layer][0]
        assert len(features_UD) == num_frames, "the convolutions are not HuBERT's"
        return features_UD


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubertLayer:
    """Hidden state ``layer`` of the model in the place ``checkpoint`` (0: before any layer).

    Below the last layer it equals fairseq's ``extract_features``.  ``normalize`` says whether
    waveforms get zero mean and unit variance (Large models); the folder must agree.  ``sha256``
    is of ``model.safetensors``; None plans but does not load, and the error names the digest.
    """

    REVISION: ClassVar[int] = 1

    checkpoint: str
    layer: int
    sha256: str | None = None
    normalize: bool = True

    @property
    def max_samples(self) -> int | None:
        """Any length, memory permitting."""
        return None

    def load(self, places: Mapping[str, Path], device: str) -> HubertEncoder:
        """The encoder.  Raises ValueError when the folder lacks a file or holds another model."""
        from transformers import AutoModel

        folder = self._folder(places)
        verify_digest(folder / WEIGHTS, self.sha256, self.checkpoint)
        kind = json.loads((folder / "config.json").read_text())["model_type"]
        if kind not in FAMILY:
            raise ValueError(f"{folder}: the model type is {kind!r}, none of {FAMILY}")
        found = json.loads((folder / SETTINGS).read_text())["do_normalize"]
        if found != self.normalize:
            raise ValueError(
                f"{folder / SETTINGS} says do_normalize={found}, the extractor of "
                f"{self.checkpoint} says normalize={self.normalize}; make them agree"
            )
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        return HubertEncoder(model, self.layer, self.normalize, device)

    def _folder(self, places: Mapping[str, Path]) -> Path:
        if self.checkpoint not in places:
            raise ValueError(
                f"the place {self.checkpoint!r} is not set; pass `--place {self.checkpoint}=FOLDER`"
                " with a model saved by transformers"
            )
        folder = Path(places[self.checkpoint])
        for name in (WEIGHTS, "config.json", SETTINGS):
            if not (folder / name).is_file():
                raise ValueError(
                    f"{folder / name} does not exist; save model and feature extractor there with "
                    "transformers' save_pretrained"
                )
        return folder
