"""What every modality must keep, for each that is found: a new file is tested at once."""

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_slm.corpora.utterance import Quarantined, as_table
from ray_slm.modalities.discovery import discover
from ray_slm.modalities.modality import DerivedStream, FittedStream, Form, Modality
from ray_slm.scheduling.identity import fingerprint
from ray_slm.units.hubert import HubertLayer
from tests.modalities.conftest import Speech, tokenize_table

MODALITIES = discover()
DERIVED = [name for name, m in MODALITIES.items() if isinstance(m.stream, DerivedStream)]
DIRECT = [name for name in MODALITIES if name not in DERIVED]


@dataclasses.dataclass
class Fitted:
    """A modality whose vocabulary was fitted on little data, if it has one."""

    modality: Modality
    stream: object
    folder: Path | None
    places: Mapping[str, Path]
    speech: Speech
    source: "Fitted | None" = None

    def load(self):
        return self.stream.load(self.folder, self.places)

    def table(self, utterances):
        """What the stream reads: the utterances, or their units."""
        if self.source is None:
            return as_table(utterances)
        units = self.source.tokenize(self.source.load(), utterances)
        table = as_table(utterances).select(["id", "split", "num_samples"])
        lists = pa.array([ids.tolist() for ids in units], pa.list_(pa.uint16()))
        return table.append_column("units", lists)

    def tables(self, utterances):
        return [self.table(utterances[i : i + 50]) for i in range(0, len(utterances), 50)]

    def tokenize(self, tokenizer, utterances):
        return tokenize_table(tokenizer, self.table(utterances), self.speech.waveform)


def small(stream, hubert_sha256):
    """The same stream with a vocabulary that a test's data can fill."""
    if isinstance(stream, DerivedStream):
        changes = {"source": small(stream.source, hubert_sha256)}
        return dataclasses.replace(stream, **changes, **small_vocabulary(stream, 40))
    if isinstance(getattr(stream, "extractor", None), HubertLayer):
        extractor = HubertLayer(checkpoint="small", layer=2, sha256=hubert_sha256)
        stream = dataclasses.replace(stream, extractor=extractor)
    return dataclasses.replace(stream, **small_vocabulary(stream, 120))


def small_vocabulary(stream, vocab_size):
    names = {field.name for field in dataclasses.fields(stream)}
    if "num_units" in names:
        return {"num_units": 8, "sample_minutes": 1, "num_inits": 1, "max_iterations": 20}
    return {"vocab_size": vocab_size} if "vocab_size" in names else {}


@pytest.fixture(scope="module")
def make(speech, places, small_hubert, tmp_path_factory):
    hubert_folder, hubert_sha256 = small_hubert
    places = {**places, "small": hubert_folder}

    def fit(modality, stream):
        source = None
        if isinstance(stream, DerivedStream):
            source = fit(modality, stream.source)
        found = Fitted(modality, stream, None, places, speech, source)
        if isinstance(stream, FittedStream):
            found.folder = tmp_path_factory.mktemp(modality.name)
            some = found.tables(speech.utterances)
            assert stream.fit(some, speech.waveform, found.folder, places)
        return found

    @functools.cache
    def named(name):
        return fit(MODALITIES[name], small(MODALITIES[name].stream, hubert_sha256))

    return named


@pytest.fixture(scope="module", params=MODALITIES, ids=str)
def fitted(request, make):
    return make(request.param)


def test_the_modalities_are_found():
    assert {
        "text-bpe",
        "text-raw",
        "phone-bpe",
        "phone-raw",
        "phone-repeat",
        "speech-whisper",
        "speech-hubert",
        "speech-hubert-dedup",
        "speech-hubert-bpe",
    } <= MODALITIES.keys()


def test_the_stream_is_a_frozen_value_with_an_identity(fitted):
    stream = fitted.modality.stream
    assert fingerprint(stream) == fingerprint(dataclasses.replace(stream))
    forms = {
        "text": {Form.TEXT},
        "phone": {Form.PHONES},
        "speech": {Form.AUDIO, Form.UNITS},
    }
    assert stream.form in forms[fitted.modality.name.split("-")[0]]
    for field in dataclasses.fields(stream):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(stream, field.name, 0)


def test_every_utterance_has_tokens_of_the_vocabulary(fitted, speech):
    tokenizer = fitted.load()
    some = speech.utterances[:30]
    found = fitted.tokenize(tokenizer, some)
    assert len(found) == len(some)
    for ids in found:
        assert ids.dtype == np.uint16
        assert ids.ndim == 1
        assert len(ids) > 0
        assert ids.max() < tokenizer.vocab_size


def test_tokens_do_not_depend_on_order_neighbors_or_the_loaded_instance(fitted, speech):
    some = speech.utterances[:12]
    together = fitted.tokenize(fitted.load(), some)
    tokenizer = fitted.load()
    alone = [fitted.tokenize(tokenizer, [u])[0] for u in some]
    backwards = fitted.tokenize(tokenizer, some[::-1])[::-1]
    for one, two, three in zip(together, alone, backwards, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_nothing_to_tokenize_is_nothing(fitted, speech):
    nothing = fitted.table(speech.utterances[:1]).slice(0, 0)
    assert tokenize_table(fitted.load(), nothing, speech.waveform) == []


def test_only_the_columns_of_its_form_are_read(fitted, speech):
    table = fitted.table(speech.utterances[:5])
    seen = table.select(fitted.stream.form.columns)
    found = tokenize_table(fitted.load(), seen, speech.waveform)
    for one, two in zip(found, tokenize_table(fitted.load(), table, speech.waveform), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", [n for n in DIRECT if not n.startswith("speech")])
def test_text_and_phones_never_touch_audio(make, name, speech):
    def deaf(utterance):
        raise AssertionError("audio was read")

    fitted = make(name)
    columns = fitted.stream.form.columns
    assert not {"audio", "start"} & set(columns)
    table = fitted.table(speech.utterances[:3]).select(columns)
    assert len(tokenize_table(fitted.load(), table, deaf)) == 3


@pytest.mark.parametrize("name", DIRECT)
def test_what_is_refused_leaves_its_neighbors_as_they_are(make, name, speech):
    fitted = make(name)
    good = speech.utterances[:2]
    bad = dataclasses.replace(
        good[0], id="bad", transcript="\u00e9", phones=("QQ",), ends=(100,), num_samples=100
    )
    tokenizer = fitted.load()
    found = fitted.tokenize(tokenizer, [good[0], bad, good[1]])
    assert isinstance(found[1], Quarantined)
    assert (found[1].id, found[1].stage) == ("bad", "tokenize")
    assert found[1].reason.isupper()
    assert found[1].detail
    expected = fitted.tokenize(tokenizer, good)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[2], expected[1])


FITTED = [name for name, m in MODALITIES.items() if isinstance(m.stream, FittedStream)]


@pytest.mark.parametrize("name", FITTED)
def test_fitting_again_in_another_order_gives_the_same_bytes(make, name, speech, tmp_path):
    fitted = make(name)
    backwards = fitted.tables(speech.utterances[::-1])
    fitted.stream.fit(backwards, speech.waveform, tmp_path, fitted.places)
    read = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert read == {path.name: path.read_bytes() for path in fitted.folder.iterdir()}


@pytest.mark.parametrize("name", FITTED)
def test_held_out_utterances_are_never_fitted_on(make, name, speech: Speech, tmp_path):
    fitted = make(name)
    known = fitted.tables(speech.utterances[:1])
    moved = known[0].set_column(0, "id", [["held-out"]]).set_column(1, "split", [["test"]])
    with pytest.raises(ValueError, match="held-out is of split 'test'"):
        fitted.stream.fit([*known, moved], speech.waveform, tmp_path, fitted.places)


def test_finding_the_modalities_loads_nothing_heavy():
    heavy = ("torch", "ray", "transformers", "sklearn", "whisper", "pandas", "sentencepiece")
    code = (
        "import sys; from ray_slm.modalities.discovery import discover; discover(); "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
