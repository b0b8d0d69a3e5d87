import dataclasses

import numpy as np
import pytest

from ray_slm.corpora.alignment import frame_count
from ray_slm.corpora.utterance import as_table
from ray_slm.modalities import speech_hubert, speech_whisper
from ray_slm.modalities.phone_repeat import PhoneRepeat
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.modalities.unit_quality import describe
from ray_slm.units.hubert import HubertLayer
from tests.modalities.conftest import Speech, tables, tokenize
from tests.units.small_hubert import save_small

NUM_UNITS = 24


@pytest.fixture(scope="module")
def speech(speech):
    """Fewer utterances, for encoders take their time."""
    return Speech(speech.utterances[:40], speech.waveform)


@pytest.fixture(scope="module", params=["whisper", "hubert-large", "hubert-base"])
def case(request, speech, places, tmp_path_factory):
    """(stream, vocabulary, places, summary) of an encoder; Base models have the group norm."""
    folder = tmp_path_factory.mktemp(request.param)
    extractor = speech_whisper.MODALITY.stream.extractor
    if request.param != "whisper":
        large = request.param == "hubert-large"
        sha256 = save_small(folder / "model", large=large)
        extractor = HubertLayer(checkpoint="small", layer=2, sha256=sha256, normalize=large)
    places = {**places, "small": folder / "model"}
    stream = SpeechUnits(extractor=extractor, num_units=NUM_UNITS, sample_minutes=5, num_inits=1)
    summary = stream.fit(tables(speech.utterances), speech.waveform, folder / "codebook", places)
    return stream, folder / "codebook", places, summary


def test_units_have_the_length_of_the_repeated_phones(case, speech):
    stream, vocabulary, places, _ = case
    units = tokenize(stream.load(vocabulary, places), speech.utterances[:10], speech.waveform)
    phones = tokenize(PhoneRepeat().load(None, {}), speech.utterances[:10], None)
    assert [len(ids) for ids in units] == [len(ids) for ids in phones]


def test_units_are_the_same_alone_and_among_longer_and_shorter_neighbors(case, speech):
    stream, vocabulary, places, _ = case
    tokenizer = stream.load(vocabulary, places)
    by_length = sorted(speech.utterances, key=lambda u: u.num_samples)
    chosen = [by_length[0], by_length[-1], by_length[1], by_length[-2]]
    together = tokenize(tokenizer, chosen, speech.waveform)
    for utterance, ids in zip(chosen, together, strict=True):
        alone = tokenize(stream.load(vocabulary, places), [utterance], speech.waveform)[0]
        np.testing.assert_array_equal(ids, alone)


def test_the_summary_tells_the_quality_of_the_units(case, speech):
    *_, summary = case
    assert summary["num_utterances"] == len(speech.utterances)
    assert summary["num_frames"] == sum(frame_count(u.num_samples) for u in speech.utterances)
    for name in ("pnmi", "phone_purity", "speaker_nmi", "usage_entropy", "changes_per_frame"):
        assert 0 <= summary[name] <= 1, name


def test_whisper_names_tones_far_better_than_chance(speech, places, tmp_path):
    stream = dataclasses.replace(
        speech_whisper.MODALITY.stream, num_units=60, sample_minutes=5, num_inits=1
    )
    assert stream.fit(tables(speech.utterances), speech.waveform, tmp_path, places)["pnmi"] > 0.3


def test_units_that_are_random_name_nothing(speech):
    num_frames = sum(frame_count(u.num_samples) for u in speech.utterances)
    units = np.random.default_rng(0).integers(0, 20, num_frames)
    summary = describe(units, as_table(speech.utterances), 20)
    assert summary["pnmi"] < 0.05
    assert summary["speaker_nmi"] < 0.05
    unaligned = [dataclasses.replace(u, phones=(), ends=()) for u in speech.utterances]
    assert "pnmi" not in describe(units, as_table(unaligned), 20)


def test_a_codebook_of_another_extractor_or_size_is_refused(case, places):
    stream, vocabulary, places, _ = case
    other = dataclasses.replace(stream, num_units=NUM_UNITS + 1)
    with pytest.raises(ValueError, match=f"has {NUM_UNITS} units of .* but {NUM_UNITS + 1} units"):
        other.load(vocabulary, places)
    other = dataclasses.replace(stream, extractor=speech_hubert.MODALITY.stream.extractor)
    with pytest.raises(ValueError, match=r"hubert-large-ll60k.* are needed; fit"):
        other.load(vocabulary, places)


def test_lengths_that_whisper_cannot_read_are_refused(say, speech, places, tmp_path):
    stream = dataclasses.replace(speech_whisper.MODALITY.stream, num_units=4, sample_minutes=1)
    stream.fit(tables(speech.utterances[:5]), speech.waveform, tmp_path, places)
    long = say(id="long", num_samples=480_001)
    found = tokenize(stream.load(tmp_path, places), [long, say(id="short", num_samples=399)], None)
    assert [one.reason for one in found] == ["TOO_LONG", "TOO_SHORT"]


def test_features_that_are_not_finite_are_refused(case, speech):
    stream, vocabulary, places, _ = case

    def broken(utterance):
        return np.full(utterance.num_samples, np.nan, np.float32)

    (found,) = tokenize(stream.load(vocabulary, places), speech.utterances[:1], broken)
    assert found.reason == "NOT_FINITE"
    with pytest.raises(ValueError, match="features are not finite"):
        stream.fit(tables(speech.utterances[:1]), broken, vocabulary / "never", places)


def test_the_papers_modality_says_what_the_paper_says():
    stream = speech_hubert.MODALITY.stream
    assert (stream.num_units, stream.extractor.layer) == (2048, 20)
    assert speech_hubert.MODALITY.nominal_tokens_per_second == 50
    with pytest.raises(ValueError, match="--place hubert-large-ll60k=FOLDER"):
        stream.extractor.load({}, "cpu")
