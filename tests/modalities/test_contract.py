"""What every modality must keep, for each that is found: a new file is tested at once."""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ray_slm.corpora.utterance import Quarantined
from ray_slm.modalities.discovery import discover
from ray_slm.modalities.modality import Form, Modality
from ray_slm.scheduling.identity import fingerprint
from ray_slm.units.hubert import HubertLayer
from tests.modalities.conftest import Speech

MODALITIES = discover()


@dataclasses.dataclass
class Fitted:
    """A modality whose vocabulary was fitted on little data, if it has one."""

    modality: Modality
    stream: object
    folder: Path | None
    places: Mapping[str, Path]

    def load(self):
        return self.stream.load(self.folder, self.places)


def small(stream, hubert_sha256):
    """The same stream with a vocabulary that a test's data can fill."""
    names = {field.name for field in dataclasses.fields(stream)}
    changes = {"vocab_size": 120} if "vocab_size" in names else {}
    if "num_units" in names:
        changes = {"num_units": 8, "sample_minutes": 1, "num_inits": 1, "max_iterations": 20}
    if isinstance(getattr(stream, "extractor", None), HubertLayer):
        changes["extractor"] = HubertLayer(checkpoint="small", layer=2, sha256=hubert_sha256)
    return dataclasses.replace(stream, **changes)


@pytest.fixture(scope="module", params=MODALITIES, ids=str)
def fitted(request, speech, places, small_hubert, tmp_path_factory):
    modality = MODALITIES[request.param]
    hubert_folder, hubert_sha256 = small_hubert
    stream = small(modality.stream, hubert_sha256)
    places = {**places, "small": hubert_folder}
    folder = None
    if stream.fits:
        folder = tmp_path_factory.mktemp(modality.name)
        summary = stream.fit(speech.utterances, speech.waveform, folder, places)
        assert summary
    return Fitted(modality, stream, folder, places)


def test_the_seven_modalities_are_found():
    assert {
        "text-bpe",
        "text-raw",
        "phone-bpe",
        "phone-raw",
        "phone-repeat",
        "speech-whisper",
        "speech-hubert",
    } <= MODALITIES.keys()


def test_the_stream_is_a_frozen_value_with_an_identity(fitted):
    stream = fitted.modality.stream
    assert fingerprint(stream) == fingerprint(dataclasses.replace(stream))
    assert isinstance(stream.form, Form)
    assert stream.form.value == fitted.modality.name.split("-")[0].replace(
        "speech", "audio"
    ).replace("phone", "phones")
    for field in dataclasses.fields(stream):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(stream, field.name, 0)


def test_every_utterance_has_tokens_of_the_vocabulary(fitted, speech):
    tokenizer = fitted.load()
    some = speech.utterances[:30]
    found = tokenizer.tokenize(some, speech.waveform)
    assert len(found) == len(some)
    for ids in found:
        assert ids.dtype == np.uint16
        assert ids.ndim == 1
        assert len(ids) > 0
        assert ids.max() < tokenizer.vocab_size


def test_tokens_do_not_depend_on_order_neighbors_or_the_loaded_instance(fitted, speech):
    some = speech.utterances[:12]
    together = fitted.load().tokenize(some, speech.waveform)
    tokenizer = fitted.load()
    alone = [tokenizer.tokenize([u], speech.waveform)[0] for u in some]
    backwards = tokenizer.tokenize(some[::-1], speech.waveform)[::-1]
    for one, two, three in zip(together, alone, backwards, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_nothing_to_tokenize_is_nothing(fitted, speech):
    assert fitted.load().tokenize([], speech.waveform) == []


def test_what_is_refused_leaves_its_neighbors_as_they_are(fitted, speech):
    good = speech.utterances[:2]
    bad = dataclasses.replace(
        good[0], id="bad", transcript="\u00e9", phones=("QQ",), ends=(100,), num_samples=100
    )
    tokenizer = fitted.load()
    found = tokenizer.tokenize([good[0], bad, good[1]], speech.waveform)
    assert isinstance(found[1], Quarantined)
    assert (found[1].id, found[1].stage) == ("bad", "tokenize")
    assert found[1].reason.isupper()
    assert found[1].detail
    expected = tokenizer.tokenize(good, speech.waveform)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[2], expected[1])


def test_fitting_again_in_another_order_gives_the_same_bytes(fitted, speech, tmp_path):
    if not fitted.stream.fits:
        with pytest.raises(TypeError, match="nothing to fit"):
            fitted.stream.fit(speech.utterances, speech.waveform, tmp_path, fitted.places)
        return
    backwards = speech.utterances[::-1]
    fitted.stream.fit(backwards, speech.waveform, tmp_path, fitted.places)
    read = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert read == {path.name: path.read_bytes() for path in fitted.folder.iterdir()}


def test_held_out_utterances_are_never_fitted_on(fitted, speech: Speech, tmp_path):
    if fitted.stream.fits:
        held_out = dataclasses.replace(speech.utterances[0], id="held-out", split="test")
        with pytest.raises(ValueError, match="held-out is of split 'test'"):
            fitted.stream.fit([held_out], speech.waveform, tmp_path, fitted.places)


def test_finding_the_modalities_loads_nothing_heavy():
    heavy = ("torch", "ray", "transformers", "sklearn", "whisper", "pandas", "sentencepiece")
    code = (
        "import sys; from ray_slm.modalities.discovery import discover; discover(); "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
