"""Features from a layer of HuBERT, WavLM or wav2vec 2.0, read by transformers from a folder.

The paper's speech units come from HuBERT-Large.  Units never depend on the batch: an utterance is
padded to a length, and stands in a batch of a size, that follow from its own length alone (empty
rows are filled with silence), so the kernels do the same sums for it alone and among others;
padding is masked in attention and left out of the time-wise norm of the Base models ("group").
Audio above ``chunk_seconds`` is read in windows of at most so much that overlap by
``overlap_seconds`` on each side: the convolutions (25 ms) and the positional one (1.28 s) see what
they see in the whole, only attention sees less.  Legend: B rows, S samples, U frames, D width.
"""

import dataclasses
import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ray_slm.corpora.alignment import FIELD_SAMPLES, FRAME_SAMPLES, frame_count
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ
from ray_slm.units.batches import Bucket
from ray_slm.units.extractor import verify_digest

if TYPE_CHECKING:
    import torch

FAMILY = ("hubert", "wav2vec2", "wavlm")
WEIGHTS, SETTINGS = "model.safetensors", "preprocessor_config.json"
VARIANCE_FLOOR = 1e-7  # as the feature extractors of transformers
GPU_BATCH_SAMPLES = 160 * SAMPLE_RATE_HZ  # HuBERT-Large in fp16: some 4 GB
PAD_SAMPLES = SAMPLE_RATE_HZ // 2  # costs 2 % of utterances of 15 s
MIXED_MASKS = "Support for mismatched key_padding_mask"  # how transformers' WavLM calls torch
PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


class HubertEncoder:
    """A model cut after the layer that is read, on a device.

    ``batch_samples`` is the padded audio of a batch; None encodes utterances one by one, unpadded,
    as is best on a CPU.
    """

    def __init__(
        self, model: Any, extractor: "HubertLayer", device: str, batch_samples: int | None
    ) -> None:
        import torch

        from ray_slm.units.time_norm import masked_norms

        layer, num_layers = extractor.layer, len(model.encoder.layers)
        if not 0 <= layer <= num_layers:
            raise ValueError(f"layer is {layer}: the model has 0 to {num_layers}")
        # one layer more than read: what comes last may get a final norm that inner layers lack
        model.encoder.layers = model.encoder.layers[: layer + 1]
        self.dim = int(model.config.hidden_size)
        self._norms = masked_norms(model)
        self._dtype: torch.dtype = getattr(torch, PRECISIONS[extractor.precision])
        self._model = model.eval().to(device, self._dtype)
        self._extractor, self._device, self._batch_samples = extractor, device, batch_samples

    def bucket(self, num_samples: int) -> Bucket:
        """Half a second wide; audio that needs windows is encoded alone."""
        if self._batch_samples is None or num_samples > self._extractor.chunk_samples:
            return Bucket(num_samples, rows=1)
        return self._row_bucket(num_samples)

    def _row_bucket(self, num_samples: int) -> Bucket:
        if self._batch_samples is None:
            return Bucket(num_samples, rows=1)
        padded = -(-num_samples // PAD_SAMPLES) * PAD_SAMPLES
        return Bucket(padded, rows=max(1, self._batch_samples // padded))

    def encode(self, waveforms: Sequence[np.ndarray]) -> "list[torch.Tensor]":
        """float32 (U, D), hidden state ``layer``.  Raises ValueError for less than 25 ms."""
        import torch

        if short := [len(one) for one in waveforms if frame_count(len(one)) == 0]:
            raise ValueError(f"HuBERT reads 400 samples or more, got {short[0]}")
        with torch.inference_mode():
            samples = [self._normalized(one) for one in waveforms]
            if len(samples) == 1 and len(samples[0]) > self._extractor.chunk_samples:
                return [self._in_windows(samples[0])]
            return self._rows(samples)

    def _normalized(self, waveform_S: np.ndarray) -> "torch.Tensor":
        """Zero mean and unit variance, over the whole utterance, for the models that want it."""
        import torch

        samples_S = torch.from_numpy(waveform_S).to(self._device, torch.float32)
        if not self._extractor.normalize:
            return samples_S
        centered_S = samples_S - samples_S.mean()
        return centered_S / (centered_S.square().mean() + VARIANCE_FLOOR).sqrt()

    def _in_windows(self, samples_S: "torch.Tensor") -> "torch.Tensor":
        import torch

        windows = windows_of(frame_count(len(samples_S)), self._extractor)
        cuts = [samples_S[w.start * FRAME_SAMPLES :][: w.num_samples] for w in windows]
        rows = self._row_bucket(max(map(len, cuts))).rows
        groups = (cuts[i : i + rows] for i in range(0, len(cuts), rows))
        found = [features_UD for group in groups for features_UD in self._rows(group)]
        kept = (
            f[w.first - w.start : w.last - w.start] for f, w in zip(found, windows, strict=True)
        )
        return torch.cat(list(kept))

    def _rows(self, samples: Sequence["torch.Tensor"]) -> "list[torch.Tensor]":
        """The features of waveforms of one bucket, in one batch of the bucket's shape."""
        import torch

        num_samples, rows = self._row_bucket(max(map(len, samples)))
        assert len(samples) <= rows, "more waveforms than the bucket has rows"
        padded_BS = torch.zeros(rows, num_samples, device=self._device)
        lengths = [*map(len, samples)] + [num_samples] * (rows - len(samples))
        for row, samples_S in enumerate(samples):
            padded_BS[row, : len(samples_S)] = samples_S
        mask_BS = None
        if self._batch_samples is not None:
            length_B = torch.tensor(lengths, device=self._device)
            mask_BS = torch.arange(num_samples, device=self._device) < length_B[:, None]
            for norm in self._norms:
                norm.lengths_B = length_B
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", MIXED_MASKS)
            output = self._model(
                padded_BS.to(self._dtype), attention_mask=mask_BS, output_hidden_states=True
            )
        hidden_BUD = output.hidden_states[self._extractor.layer].float()
        assert hidden_BUD.shape[1] == frame_count(num_samples), "the convolutions are not HuBERT's"
        return [hidden_BUD[row, : frame_count(len(one))] for row, one in enumerate(samples)]


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames [first, last) of long audio, read with those from ``start`` to ``stop`` around."""

    start: int
    first: int
    last: int
    stop: int

    @property
    def num_samples(self) -> int:
        """Samples that its frames see."""
        return (self.stop - self.start - 1) * FRAME_SAMPLES + FIELD_SAMPLES


def windows_of(num_frames: int, extractor: "HubertLayer") -> list[Window]:
    """Windows of nearly equal size that hold every frame once, overlaps apart."""
    most = extractor.chunk_samples // FRAME_SAMPLES
    overlap = extractor.overlap_seconds * SAMPLE_RATE_HZ // FRAME_SAMPLES
    count = -(-num_frames // (most - 2 * overlap))
    edges = [num_frames * i // count for i in range(count + 1)]
    return [
        Window(max(0, first - overlap), first, last, min(num_frames, last + overlap))
        for first, last in itertools.pairwise(edges)
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubertLayer:
    """Hidden state ``layer`` of the model in the place ``checkpoint`` (0: before any layer).

    Below the last layer it equals fairseq's ``extract_features``.  ``normalize`` says whether
    waveforms get zero mean and unit variance (Large models); the folder must agree.  ``sha256``
    is of ``model.safetensors``; None plans but does not load, and the error names the digest.
    ``precision`` is that of the model; features and units are always float32.
    """

    REVISION: ClassVar[int] = 1

    checkpoint: str
    layer: int
    sha256: str | None = None
    normalize: bool = True
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    chunk_seconds: int = 40
    overlap_seconds: int = 2

    def __post_init__(self) -> None:
        """Refuse windows that would not see what the positional convolution sees."""
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}: use one of {[*PRECISIONS]}")
        if self.overlap_seconds < 2 or self.chunk_seconds < 4 * self.overlap_seconds:
            raise ValueError(
                f"{self.checkpoint}: chunks of {self.chunk_seconds} s with an overlap of "
                f"{self.overlap_seconds} s; the overlap must be 2 s or more, and a chunk four of it"
            )

    @property
    def chunk_samples(self) -> int:
        """The longest audio that is encoded whole."""
        return self.chunk_seconds * SAMPLE_RATE_HZ

    @property
    def max_samples(self) -> int | None:
        """Any length."""
        return None

    def load(self, places: Mapping[str, Path], device: str) -> HubertEncoder:
        """The encoder.  Raises ValueError when the folder lacks a file or holds another model."""
        batch_samples = None if device == "cpu" else GPU_BATCH_SAMPLES
        return HubertEncoder(self.read_model(places), self, device, batch_samples)

    def read_model(self, places: Mapping[str, Path]) -> Any:
        """The whole model, verified."""
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
        return AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)

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
