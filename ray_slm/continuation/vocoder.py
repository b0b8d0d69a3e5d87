"""Units at 50 Hz back to speech: a small convolutional decoder to mel power, then Griffin-Lim.

Fitted per modality on its own units and the audio they were made from.  It says one voice: that
which holds most of the training split.  What it loses is measured, as the chain's word error
rate on real speech.  Legend: B segments, U units, F = 2 U frames of 10 ms, M mel bands, D width.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ray_slm.continuation.mel import NUM_MELS, log_mel, waveform_of
from ray_slm.corpora.alignment import FRAME_SAMPLES
from ray_slm.tasks.continuation import ExportedVocoder, UnitVocoder
from ray_slm.units.extractor import verify_digest

WEIGHTS, ABOUT = "decoder.safetensors", "decoder.json"
MIN_UNITS = 4  # nothing shorter is worth a convolution, and reflection needs a few frames
LOUDNESS = 0.08  # root mean square of what is given back


class Example(NamedTuple):
    """Units (U,) and the waveform (S,) they were made from."""

    units_U: np.ndarray
    waveform_S: np.ndarray


class Vocoder(Protocol):
    """Speech of units."""

    def speak(self, units_U: np.ndarray) -> np.ndarray:
        """float32 (S,) at 16 kHz."""
        ...


class Decoder(nn.Module):  # type: ignore[misc]
    """Units (B, U) -> log-mel power (B, F, M)."""

    def __init__(self, num_units: int, width: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_units, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(layers)
        )
        self.out = nn.Conv1d(width, 2 * NUM_MELS, 1)

    def forward(self, units_BU: Tensor) -> Tensor:
        """(B, U) -> (B, 2 U, M)."""
        x_BDU = self.embed(units_BU).transpose(1, 2)
        for convolution in self.convolutions:
            x_BDU = x_BDU + F.gelu(convolution(x_BDU))
        mel_BUM: Tensor = self.out(x_BDU).transpose(1, 2)
        return mel_BUM.reshape(len(units_BU), -1, NUM_MELS)


def choose_training(seconds: Mapping[str, Mapping[str, float]], minutes: float) -> list[str]:
    """Utterance ids for a vocoder: speaker -> id -> seconds; the fullest speaker first.

    Where one speaker has too little, the next follows, until ``minutes`` are reached.
    """
    speakers = sorted(seconds, key=lambda name: (-sum(seconds[name].values()), name))
    chosen: list[str] = []
    total = 0.0
    for speaker in speakers:
        for utterance, length in sorted(seconds[speaker].items()):
            if total >= 60 * minutes:
                return chosen
            chosen.append(utterance)
            total += length
    return chosen


def fit_vocoder(
    examples: Iterable[Example], num_units: int, recipe: UnitVocoder, folder: Path
) -> dict[str, object]:
    """Fit the decoder by L1 on random segments; write it and return a JSON-ready summary.

    Raises ValueError when no example is as long as a segment.
    """
    data = [found for one in examples if (found := _pair(one, recipe.segment_units)) is not None]
    if len(data) < 2:
        raise ValueError(
            f"{len(data)} utterances are longer than {recipe.segment_units} units of 20 ms: too "
            "few for a vocoder; lower segment_units, or raise sample_minutes"
        )
    held_out, data = data[0], data[1:]
    torch.manual_seed(recipe.seed)
    model = Decoder(num_units, recipe.width, recipe.layers, recipe.kernel)
    model.out.bias.data.copy_(torch.cat([m for _, m in data[:50]]).mean(0).repeat(2))
    last = _train(model, data, recipe)
    with torch.inference_mode():
        error = float(F.l1_loss(model.eval()(held_out[0][None])[0], held_out[1]))
    _write(model, num_units, recipe, folder)
    minutes = sum(len(units) for units, _ in data) * FRAME_SAMPLES / 16_000 / 60
    return {"minutes": minutes, "training_l1": last, "held_out_l1": error}


def _pair(example: Example, least: int) -> tuple[Tensor, Tensor] | None:
    """Units and log-mels (2 U, M) of equal time; None where shorter than a segment."""
    mel_FM = log_mel(torch.from_numpy(example.waveform_S))
    num_units = min(len(example.units_U), len(mel_FM) // 2)
    if num_units <= least:
        return None
    units_U = torch.from_numpy(example.units_U[:num_units].astype(np.int64))
    return units_U, mel_FM[: 2 * num_units]


def _train(model: Decoder, data: Sequence[tuple[Tensor, Tensor]], recipe: UnitVocoder) -> float:
    dice = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.peak_lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, recipe.steps)
    length, recent = recipe.segment_units, 0.0
    for _ in range(recipe.steps):
        taken = [data[i] for i in dice.integers(0, len(data), recipe.segments_per_step)]
        starts = [int(dice.integers(0, len(units) - length)) for units, _ in taken]
        pairs = list(zip(taken, starts, strict=True))
        units_BU = torch.stack([units[at : at + length] for (units, _), at in pairs])
        mel_BFM = torch.stack([mel[2 * at : 2 * (at + length)] for (_, mel), at in pairs])
        loss = F.l1_loss(model(units_BU), mel_BFM)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        recent += 0.05 * (float(loss.detach()) - recent)
    return recent


def _write(model: Decoder, num_units: int, recipe: UnitVocoder, folder: Path) -> None:
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    (folder / WEIGHTS).write_bytes(save(weights))
    shape = {"width": recipe.width, "layers": recipe.layers, "kernel": recipe.kernel}
    about = {"num_units": num_units, "phase_rounds": recipe.phase_rounds, **shape}
    (folder / ABOUT).write_text(json.dumps(about, sort_keys=True) + "\n")


def open_vocoder(
    recipe: UnitVocoder | ExportedVocoder, folder: Path | None, places: Mapping[str, Path]
) -> Vocoder:
    """The fitted decoder of a stage's ``folder``, or the user's program.

    Raises ValueError when the user's file is not where it should be, or another one.
    """
    if isinstance(recipe, UnitVocoder):
        assert folder is not None, "a fitted vocoder lies in the folder of its stage"
        return FittedVocoder(folder)
    if recipe.place not in places:
        raise ValueError(f"pass `--place {recipe.place}=FILE` with the vocoder's program")
    verify_digest(places[recipe.place], recipe.sha256, recipe.place)
    return UserVocoder(places[recipe.place])


class FittedVocoder:
    """The decoder of ``fit_vocoder``."""

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file

        about = json.loads((folder / ABOUT).read_text())
        self._rounds = int(about.pop("phase_rounds"))
        self._model = Decoder(**about).eval()
        self._model.load_state_dict(load_file(folder / WEIGHTS))

    def speak(self, units_U: np.ndarray) -> np.ndarray:
        """float32 (S,), S = 320 U; silence where there are fewer than four units."""
        if len(units_U) < MIN_UNITS:
            return np.zeros(FRAME_SAMPLES * len(units_U), dtype=np.float32)
        with torch.inference_mode():
            mel_FM = self._model(torch.from_numpy(units_U.astype(np.int64))[None])[0]
            return _even(waveform_of(mel_FM, self._rounds).numpy())


class UserVocoder:
    """A program written by ``torch.export.save``: int64 units (1, U) -> waveform (1, S)."""

    def __init__(self, path: Path) -> None:
        self._program = torch.export.load(path).module()

    def speak(self, units_U: np.ndarray) -> np.ndarray:
        """float32 (S,)."""
        with torch.inference_mode():
            waveform_1S = self._program(torch.from_numpy(units_U.astype(np.int64))[None])
        return _even(np.asarray(waveform_1S[0].float()))


def _even(waveform_S: np.ndarray) -> np.ndarray:
    """The waveform at one loudness, never clipped."""
    power = float(np.sqrt(np.mean(np.square(waveform_S), dtype=np.float64)))
    peak = float(np.abs(waveform_S).max(initial=0.0))
    gain = min(LOUDNESS / max(power, 1e-8), 0.95 / max(peak, 1e-8))
    return (waveform_S * gain).astype(np.float32)
