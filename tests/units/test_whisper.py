import dataclasses
import struct

import numpy as np
import pytest
import torch
import whisper

from ray_slm.corpora.alignment import frame_count
from ray_slm.corpora.assets import locate
from ray_slm.units.ct2 import dimensions, load_whisper, read_container, whisper_state
from ray_slm.units.whisper import WhisperBlock


@pytest.fixture(scope="module")
def model_file(places):
    return locate(places, "whisper-tiny-en")


@pytest.fixture(scope="module")
def encoder(places):
    return WhisperBlock().load(places, "cpu")


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, num_samples).astype(np.float32)


def test_the_file_fills_every_parameter_of_openai_whisper(model_file):
    model = load_whisper(model_file)
    assert model.dims.n_audio_state == 384
    assert model.dims.n_vocab == 51_864
    state = model.state_dict()
    stored = whisper_state(read_container(model_file).arrays)
    assert state.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(state[name].numpy(), array)


def test_features_equal_the_block_of_the_whole_model_where_nothing_is_cropped(model_file, encoder):
    model = load_whisper(model_file)
    grabbed = []
    model.encoder.blocks[2].register_forward_hook(lambda *seen: grabbed.append(seen[2]))
    waveform = noise(480_000)
    with torch.inference_mode():
        model.encoder(whisper.log_mel_spectrogram(torch.from_numpy(waveform))[None])
    expected = grabbed[0][0, : frame_count(len(waveform))]
    torch.testing.assert_close(encoder.encode([waveform])[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_samples", [400, 719, 720, 16_000, 33_333, 480_000])
def test_there_is_a_frame_every_20_ms(encoder, num_samples):
    features = encoder.encode([noise(num_samples)])[0]
    assert features.shape == (frame_count(num_samples), 384)
    assert features.dtype == torch.float32


@pytest.mark.parametrize("num_samples", [399, 480_001])
def test_what_cannot_be_read_whole_is_refused(encoder, num_samples):
    with pytest.raises(ValueError, match=f"reads 400 to 480000 samples, got {num_samples}"):
        encoder.encode([noise(num_samples)])


def test_features_are_the_same_whatever_was_encoded_before(encoder):
    alone = encoder.encode([noise(20_000)])[0]
    encoder.encode([noise(90_000, seed=1)])
    torch.testing.assert_close(encoder.encode([noise(20_000)])[0], alone, rtol=0, atol=0)


def test_other_weights_and_other_blocks_are_refused(places):
    with pytest.raises(ValueError, match=r"whisper-tiny-en.*, but 00ff is pinned"):
        WhisperBlock(sha256="00ff").load(places, "cpu")
    with pytest.raises(ValueError, match="block is 5: the encoder has 1 to 4"):
        dataclasses.replace(WhisperBlock(), block=5).load(places, "cpu")


def text(value):
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def container(version=6, dtype=4, tail=b""):
    """A container of one array (2, 3) with an alias."""
    values = np.arange(6, dtype=np.float16).tobytes()
    array = text("a/weight") + struct.pack("<BIIBI", 2, 2, 3, dtype, len(values)) + values
    head = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, 1)
    return head + array + struct.pack("<I", 1) + text("b/weight") + text("a/weight") + tail


def test_a_container_is_read_with_its_aliases(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(container())
    found = read_container(path)
    assert (found.spec, found.revision) == ("WhisperSpec", 3)
    np.testing.assert_array_equal(found.arrays["a/weight"], np.arange(6).reshape(2, 3))
    assert found.arrays["b/weight"] is found.arrays["a/weight"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (container(version=7), "container version 7, only 6 is read"),
        (container(dtype=9), "the data type 9 is none of"),
        (container(tail=b"??"), "2 bytes are left over"),
        (container()[:40], "is cut short at byte 40"),
    ],
)
def test_another_layout_is_refused(tmp_path, content, message):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_container(path)


def test_the_dimensions_are_those_of_tiny_en(model_file):
    found = dimensions(read_container(model_file).arrays)
    assert whisper.model.ModelDimensions(**found) == whisper.model.ModelDimensions(
        80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4
    )
