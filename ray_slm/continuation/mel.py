"""Log-mel power as Whisper computes it, and back to a waveform by Griffin-Lim.

Legend: S samples at 16 kHz, F frames of 10 ms, M mel bands (80), N frequencies (201).
"""

import functools

import torch
from torch import Tensor

NUM_MELS = 80
HOP_SAMPLES = 160
FFT_SAMPLES = 400
FLOOR = 1e-5
MOMENTUM = 0.99  # Perraudin et al. 2013, "A fast Griffin-Lim algorithm"


def log_mel(waveform_S: Tensor) -> Tensor:
    """Natural logarithm of mel power, (F, M) with F = S // 160, floored at 1e-5."""
    power_NF = _spectrum(waveform_S)[:, : len(waveform_S) // HOP_SAMPLES].abs().square()
    mel_FM: Tensor = (_filters_MN() @ power_NF).clamp(min=FLOOR).log().T
    return mel_FM


def waveform_of(mel_FM: Tensor, rounds: int, seed: int = 0) -> Tensor:
    """A waveform (S,), S = 160 F, whose log-mel power is about ``mel_FM``; seeded phases."""
    power_NF = _inverse_NM() @ mel_FM.T.exp()
    magnitude_NF = power_NF.clamp(min=1e-8).sqrt()
    dice = torch.Generator().manual_seed(seed)
    phase_NF = torch.exp(2j * torch.pi * torch.rand(magnitude_NF.shape, generator=dice))
    last_NF = torch.zeros_like(phase_NF)
    for _ in range(rounds):
        now_NF = _spectrum(_inverse(magnitude_NF * phase_NF))[:, : magnitude_NF.shape[1]]
        step_NF, last_NF = now_NF - MOMENTUM / (1 + MOMENTUM) * last_NF, now_NF
        phase_NF = step_NF / step_NF.abs().clamp(min=1e-8)
    samples_S = _inverse(magnitude_NF * phase_NF)
    short = HOP_SAMPLES * len(mel_FM) - len(samples_S)
    return torch.nn.functional.pad(samples_S, (0, short))


def _spectrum(waveform_S: Tensor) -> Tensor:
    spectrum_NF: Tensor = torch.stft(
        waveform_S, FFT_SAMPLES, HOP_SAMPLES, window=_window(), center=True, return_complex=True
    )
    return spectrum_NF


def _inverse(spectrum_NF: Tensor) -> Tensor:
    return torch.istft(spectrum_NF, FFT_SAMPLES, HOP_SAMPLES, window=_window(), center=True)


@functools.cache
def _window() -> Tensor:
    return torch.hann_window(FFT_SAMPLES)


@functools.cache
def _filters_MN() -> Tensor:
    from whisper.audio import mel_filters

    return mel_filters("cpu", NUM_MELS)


@functools.cache
def _inverse_NM() -> Tensor:
    return torch.linalg.pinv(_filters_MN())
