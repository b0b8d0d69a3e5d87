"""Mel power and back, and a decoder that learns units' sounds."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from ray_slm.continuation.mel import log_mel, waveform_of
from ray_slm.continuation.vocoder import (
    Example,
    choose_training,
    fit_vocoder,
    open_vocoder,
)
from ray_slm.tasks.continuation import ExportedVocoder, UnitVocoder

TONES = (300.0, 700.0, 1500.0, 3000.0)
RECIPE = UnitVocoder(width=32, layers=2, steps=120, segments_per_step=8, segment_units=16)


def spoken(seed, num_runs=12):
    """Units that are tones of 100 to 300 ms, and their sound."""
    dice = np.random.default_rng(seed)
    units = np.repeat(dice.integers(0, 4, num_runs), dice.integers(5, 15, num_runs))
    phase = np.cumsum(np.repeat(np.array(TONES)[units], 320) / 16_000) * 2 * np.pi
    return Example(units.astype(np.uint16), (0.3 * np.sin(phase)).astype(np.float32))


def strongest(waveform, start, stop):
    """The strongest frequency of a stretch, in Hz."""
    part = waveform[start:stop] * np.hanning(stop - start)
    return float(np.abs(np.fft.rfft(part)).argmax() * 16_000 / (stop - start))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocoder")
    summary = fit_vocoder((spoken(i) for i in range(12)), 4, RECIPE, path)
    assert summary["held_out_l1"] < 1.0
    return path


def test_a_waveform_comes_back_from_its_mel():
    wave = torch.from_numpy(spoken(0).waveform_S)
    mel = log_mel(wave)
    again = waveform_of(mel, rounds=30)
    assert len(again) == 160 * len(mel)
    loud = mel > mel.max() - 7  # the rest is leakage, 30 dB below
    assert float((log_mel(again) - mel)[loud].abs().median()) < 0.2
    assert torch.equal(again, waveform_of(mel, rounds=30))
    assert not torch.equal(again, waveform_of(mel, rounds=30, seed=1))


def test_the_decoder_says_the_sounds_of_its_units(folder):
    units = np.repeat(np.array([0, 2, 1, 3], dtype=np.uint16), 20)
    wave = open_vocoder(RECIPE, folder, {}).speak(units)
    assert wave.dtype == np.float32
    assert len(wave) == 320 * len(units)
    for place, unit in enumerate((0, 2, 1, 3)):
        middle = 6400 * place
        heard = strongest(wave, middle + 1600, middle + 4800)
        assert heard == pytest.approx(TONES[unit], rel=0.12)


def test_the_same_fit_gives_the_same_bytes(folder, tmp_path):
    fit_vocoder((spoken(i) for i in range(12)), 4, RECIPE, tmp_path)
    for name in ("decoder.safetensors", "decoder.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_few_units_are_silence_and_no_error(folder):
    vocoder = open_vocoder(RECIPE, folder, {})
    for number in range(6):
        assert len(vocoder.speak(np.zeros(number, dtype=np.uint16))) == 320 * number


def test_too_little_speech_is_refused(tmp_path):
    with pytest.raises(ValueError, match="too few for a vocoder"):
        fit_vocoder([spoken(0)], 4, RECIPE, tmp_path)


def test_one_voice_is_chosen_while_it_suffices():
    seconds = {"a": {"a1": 30.0, "a2": 40.0}, "b": {"b1": 100.0, "b2": 50.0}, "c": {"c1": 10.0}}
    assert choose_training(seconds, 2.0) == ["b1", "b2"]
    assert choose_training(seconds, 3.0) == ["b1", "b2", "a1"]
    assert len(choose_training(seconds, 100.0)) == 5


class Beeps(torch.nn.Module):
    """A vocoder of somebody else's: 160 samples per unit, as loud as its number."""

    def forward(self, units):
        return (units[:, :, None].float().expand(-1, -1, 160) / 100).flatten(1)


def test_a_users_exported_program_is_opened_and_pinned(tmp_path):
    path = tmp_path / "mine.pt2"
    length = torch.export.Dim("length", min=2, max=4096)
    program = torch.export.export(
        Beeps(), (torch.zeros(1, 8, dtype=torch.int64),), dynamic_shapes=({1: length},)
    )
    torch.export.save(program, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    recipe = ExportedVocoder(place="mine", sha256=digest)
    wave = open_vocoder(recipe, None, {"mine": path}).speak(np.array([0, 3, 5], dtype=np.uint16))
    assert len(wave) == 480
    assert wave[0] == 0
    assert wave[479] > wave[200] > 0
    other = dataclasses.replace(recipe, sha256="0" * 64)
    with pytest.raises(ValueError, match="is pinned"):
        open_vocoder(other, None, {"mine": path})
    with pytest.raises(ValueError, match="--place mine=FILE"):
        open_vocoder(recipe, None, {})
