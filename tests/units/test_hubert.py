import dataclasses
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel

from ray_slm.corpora.alignment import frame_count
from ray_slm.units.hubert import HubertLayer
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
    torch.testing.assert_close(encoder.encode(waveform), expected, rtol=1e-3, atol=1e-5)
    assert encoder.dim == expected.shape[1]


@pytest.mark.parametrize("num_samples", [400, 719, 720, 1_000, 16_000, 20_001])
def test_there_is_a_frame_every_20_ms(saved, num_samples):
    folder, extractor = saved
    encoder = extractor.load({"small": folder}, "cpu")
    assert encoder.encode(noise(num_samples)).shape == (frame_count(num_samples), 16)


def test_less_than_a_frame_is_refused(saved):
    folder, extractor = saved
    with pytest.raises(ValueError, match="400 samples or more, got 399"):
        extractor.load({"small": folder}, "cpu").encode(noise(399))


def test_features_are_the_same_whatever_was_encoded_before(saved):
    folder, extractor = saved
    encoder = extractor.load({"small": folder}, "cpu")
    alone = encoder.encode(noise(5_000))
    encoder.encode(noise(20_000, seed=1))
    torch.testing.assert_close(encoder.encode(noise(5_000)), alone, rtol=0, atol=0)


def test_loudness_does_not_matter_to_large_models(tmp_path):
    extractor = HubertLayer(checkpoint="small", layer=2, sha256=save_small(tmp_path))
    encoder = extractor.load({"small": tmp_path}, "cpu")
    loud = encoder.encode(noise(5_000) * 3)
    torch.testing.assert_close(loud, encoder.encode(noise(5_000)), rtol=1e-3, atol=1e-4)


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
