import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from ray_slm.corpora.alignment import frame_count
from ray_slm.units.batches import batches
from ray_slm.units.hubert import HubertEncoder, HubertLayer, windows_of
from tests.units.small_hubert import save_small


@pytest.fixture(scope="module", params=["hubert-large", "hubert-base", "wavlm", "wav2vec2"])
def saved(request, tmp_path_factory):
    """(folder, extractor) of the second layer; Base models have the group norm."""
    kind = request.param.split("-")[0]
    large = request.param != "hubert-base"
    folder = tmp_path_factory.mktemp(request.param)
    sha256 = save_small(folder, kind, large=large)
    return folder, HubertLayer(checkpoint="small", layer=2, sha256=sha256, normalize=large)


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, num_samples).astype(np.float32)


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_features_are_the_hidden_state_of_the_whole_model(saved, layer):
    folder, extractor = saved
    encoder = dataclasses.replace(extractor, layer=layer).load({"small": folder}, "cpu")
    waveform = noise(9_000) + 0.05
    samples = waveform - waveform.mean()
    samples = samples / np.sqrt(samples.var() + 1e-7)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        given = torch.from_numpy(samples if extractor.normalize else waveform)[None]
        expected = model(given, output_hidden_states=True).hidden_states[layer][0]
    torch.testing.assert_close(encoder.encode([waveform])[0], expected, rtol=1e-3, atol=1e-5)
    assert encoder.dim == expected.shape[1]


@pytest.mark.parametrize("num_samples", [400, 719, 720, 1_000, 16_000, 20_001])
def test_there_is_a_frame_every_20_ms(saved, num_samples):
    folder, extractor = saved
    encoder = extractor.load({"small": folder}, "cpu")
    assert encoder.encode([noise(num_samples)])[0].shape == (frame_count(num_samples), 16)


def test_less_than_a_frame_is_refused(saved):
    folder, extractor = saved
    with pytest.raises(ValueError, match="400 samples or more, got 399"):
        extractor.load({"small": folder}, "cpu").encode([noise(399)])


def test_features_are_the_same_whatever_was_encoded_before(saved):
    folder, extractor = saved
    encoder = extractor.load({"small": folder}, "cpu")
    alone = encoder.encode([noise(5_000)])[0]
    encoder.encode([noise(20_000, seed=1)])
    torch.testing.assert_close(encoder.encode([noise(5_000)])[0], alone, rtol=0, atol=0)


def batching(folder, extractor, seconds=8):
    """The encoder as it is on a GPU, where utterances share batches."""
    model = extractor.read_model({"small": folder})
    return HubertEncoder(model, extractor, "cpu", batch_samples=seconds * 16_000)


LENGTHS = [400, 5_000, 7_999, 8_000, 8_001, 11_111, 15_500, 16_000, 30_001, 33_333, 47_000]


def test_features_in_a_batch_are_those_of_the_utterance_alone_to_the_bit(saved):
    folder, extractor = saved
    encoder = batching(folder, extractor)
    waveforms = [noise(length, seed) for seed, length in enumerate(LENGTHS * 3)]
    grouped = batches([encoder.bucket(len(one)) for one in waveforms])
    assert max(map(len, grouped)) > 3
    for group in grouped:
        together = encoder.encode([waveforms[i] for i in group])
        backwards = encoder.encode([waveforms[i] for i in group[::-1]])[::-1]
        for i, one, two in zip(group, together, backwards, strict=True):
            (alone,) = encoder.encode([waveforms[i]])
            assert alone.shape[0] == frame_count(len(waveforms[i]))
            torch.testing.assert_close(one, alone, rtol=0, atol=0)
            torch.testing.assert_close(two, alone, rtol=0, atol=0)


def test_padding_changes_no_feature_beyond_rounding(saved):
    folder, extractor = saved
    exact = extractor.load({"small": folder}, "cpu")
    encoder = batching(folder, extractor)
    for seed, length in enumerate(LENGTHS):
        (padded,), (plain,) = (e.encode([noise(length, seed)]) for e in (encoder, exact))
        torch.testing.assert_close(padded, plain, rtol=1e-4, atol=1e-5)


def test_a_bucket_follows_from_the_length_alone_and_wastes_little(saved):
    encoder = batching(*saved)
    assert encoder.bucket(8_001) == encoder.bucket(16_000) == (16_000, 8)
    assert encoder.bucket(16_001) == (24_000, 5)
    assert encoder.bucket(400 * 16_000).rows == 1


@settings(max_examples=60)
@given(num_frames=st.integers(1, 30_000), chunk=st.integers(8, 60), overlap=st.integers(2, 2))
def test_windows_hold_every_frame_once_and_overlap_as_stated(num_frames, chunk, overlap):
    extractor = HubertLayer(checkpoint="x", layer=1, chunk_seconds=chunk, overlap_seconds=overlap)
    windows = windows_of(num_frames, extractor)
    assert [w.first for w in windows] == [0, *(w.last for w in windows[:-1])]
    assert windows[-1].last == num_frames
    for w in windows:
        assert w.num_samples <= extractor.chunk_samples + 80
        assert w.start == max(0, w.first - 50 * overlap)
        assert w.stop == min(num_frames, w.last + 50 * overlap)
    sizes = [w.last - w.first for w in windows]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("batched", [False, True])
def test_long_audio_is_read_in_windows_that_agree_with_the_whole(saved, batched):
    """Exactly in what convolutions see (layer 0); attention sees less, so inner layers differ."""
    folder, extractor = saved
    extractor = dataclasses.replace(extractor, layer=0, chunk_seconds=8)
    waveform = noise(20 * 16_000 + 123)
    whole = dataclasses.replace(extractor, chunk_seconds=60).load({"small": folder}, "cpu")
    (expected,) = whole.encode([waveform])
    encoder = batching(folder, extractor) if batched else extractor.load({"small": folder}, "cpu")
    (found,) = encoder.encode([waveform])
    assert found.shape == expected.shape == (frame_count(len(waveform)), 16)
    if extractor.normalize:  # Base models are normalized over the audio they see: the window
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    else:
        torch.testing.assert_close(found, expected, rtol=0.2, atol=0.1)


def test_windows_too_narrow_for_the_positional_convolution_are_refused():
    with pytest.raises(ValueError, match="the overlap must be 2 s or more"):
        HubertLayer(checkpoint="x", layer=1, overlap_seconds=1)


def test_half_precision_gives_nearly_the_same_float32_features(saved):
    folder, extractor = saved
    (exact,) = extractor.load({"small": folder}, "cpu").encode([noise(16_000)])
    half = dataclasses.replace(extractor, precision="bf16").load({"small": folder}, "cpu")
    (found,) = half.encode([noise(16_000)])
    assert found.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(found, exact, dim=1)
    assert cosine.min() > 0.99
    with pytest.raises(ValueError, match="precision is 'fp8'"):
        dataclasses.replace(extractor, precision="fp8")


def test_loudness_does_not_matter_to_large_models(tmp_path):
    extractor = HubertLayer(checkpoint="small", layer=2, sha256=save_small(tmp_path))
    encoder = extractor.load({"small": tmp_path}, "cpu")
    loud = encoder.encode([noise(5_000) * 3])[0]
    torch.testing.assert_close(loud, encoder.encode([noise(5_000)])[0], rtol=1e-3, atol=1e-4)


def test_weights_are_verified_and_an_unpinned_extractor_names_their_digest(tmp_path):
    sha256 = save_small(tmp_path)
    places = {"small": tmp_path}
    with pytest.raises(ValueError, match=f'not pinned.*write sha256="{sha256}"'):
        HubertLayer(checkpoint="small", layer=1).load(places, "cpu")
    with pytest.raises(ValueError, match=f"has sha256 {sha256}, but 00ff is pinned"):
        HubertLayer(checkpoint="small", layer=1, sha256="00ff").load(places, "cpu")


def test_a_place_that_is_not_set_or_incomplete_is_named(tmp_path):
    extractor = HubertLayer(checkpoint="small", layer=1)
    with pytest.raises(ValueError, match="the place 'small' is not set; pass `--place small="):
        extractor.load({}, "cpu")
    with pytest.raises(ValueError, match=r"model\.safetensors does not exist; save model and"):
        extractor.load({"small": tmp_path}, "cpu")


def test_disagreement_on_normalization_is_refused(tmp_path):
    extractor = HubertLayer(
        checkpoint="small", layer=1, sha256=save_small(tmp_path), normalize=False
    )
    with pytest.raises(ValueError, match="says do_normalize=True, the extractor of small says"):
        extractor.load({"small": tmp_path}, "cpu")


def test_a_model_of_another_family_is_refused(tmp_path):
    extractor = HubertLayer(checkpoint="small", layer=1, sha256=save_small(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ValueError, match="the model type is 'bert', none of"):
        extractor.load({"small": tmp_path}, "cpu")


def test_a_layer_the_model_lacks_is_refused(tmp_path):
    extractor = HubertLayer(checkpoint="small", layer=4, sha256=save_small(tmp_path))
    with pytest.raises(ValueError, match="layer is 4: the model has 0 to 3"):
        extractor.load({"small": tmp_path}, "cpu")
