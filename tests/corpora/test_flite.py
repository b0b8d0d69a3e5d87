import numpy as np
import pytest

from ray_slm.corpora import flite
from ray_slm.corpora.flite import VOICES, Flite, arpabet, missing_libraries
from ray_slm.corpora.flite_process import FliteProcess
from ray_slm.corpora.lexicon import PHONE_SET
from ray_slm.corpora.synthesis import VOICES_BY_RUNG, Unspeakable, load_speaker
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ

SENTENCE = "She was the youngest of the two daughters of a most affectionate, indulgent father."


@pytest.fixture(scope="module")
def speaker():
    return Flite()


def median_f0_hz(pcm):
    """By autocorrelation over 64 ms frames, voiced ones only."""
    found = []
    for start in range(0, len(pcm) - 1024, 512):
        frame = pcm[start : start + 1024].astype(float)
        frame -= frame.mean()
        correlation = np.correlate(frame, frame, "full")[1023:]
        lag = 50 + int(np.argmax(correlation[50:300]))
        if frame.std() > 400 and correlation[lag] > 0.5 * correlation[0]:
            found.append(SAMPLE_RATE_HZ / lag)
    return np.median(found)


@pytest.mark.parametrize("voice", VOICES)
def test_phones_cover_the_speech_from_silence_to_silence(speaker, voice):
    spoken = speaker.speak(SENTENCE, voice)
    assert spoken.pcm.dtype == np.int16
    assert set(spoken.phones) <= PHONE_SET
    assert spoken.phones[0] == spoken.phones[-1] == "SIL"
    assert all(np.diff((0, *spoken.ends)) > 0)
    assert spoken.ends[-1] == len(spoken.pcm), "the voices overrun; the end is clamped"
    seconds = len(spoken.pcm) / SAMPLE_RATE_HZ
    assert 4 < seconds < 7
    assert 8 < sum(phone != "SIL" for phone in spoken.phones) / seconds < 13


def interiors(spoken):
    """(phone, samples) of the middle half of each phone, away from its neighbors."""
    for phone, start, end in zip(spoken.phones, (0, *spoken.ends), spoken.ends, strict=False):
        quarter = (end - start) // 4
        yield phone, spoken.pcm[start + quarter : end - quarter].astype(float)


@pytest.mark.parametrize("voice", VOICES)
def test_sound_is_where_the_phones_are(speaker, voice):
    spoken = speaker.speak(SENTENCE, voice)
    energy = {True: [], False: []}
    for phone, samples in interiors(spoken):
        energy[phone == "SIL"].append(float(np.mean(samples**2)))
    assert max(energy[True]) < np.median(energy[False]) / 30
    assert np.abs(spoken.pcm).max() > 3000


@pytest.mark.parametrize("voice", VOICES)
def test_sibilants_are_higher_than_vowels(speaker, voice):
    share = {"S": [], "AO1": []}
    for phone, samples in interiors(speaker.speak("So she saw us all, said Sissy.", voice)):
        if phone in share:
            power = np.abs(np.fft.rfft(samples)) ** 2
            hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
            share[phone].append(power[hertz > 3000].sum() / power.sum())
    assert len(share["S"]) >= 4
    assert min(share["S"]) > 0.3
    assert max(share["AO1"]) < 0.1


@pytest.mark.parametrize("voice", VOICES)
def test_stretch_multiplies_durations(speaker, voice):
    fast, slow = (speaker.speak(SENTENCE, voice, stretch=s) for s in (0.85, 1.2))
    assert fast.phones == slow.phones
    assert len(slow.pcm) / len(fast.pcm) == pytest.approx(1.2 / 0.85, rel=0.03)


@pytest.mark.parametrize("voice", ["slt", "awb", "kal16"])
def test_f0_follows_its_factor(speaker, voice):
    low, high = (
        median_f0_hz(speaker.speak(SENTENCE, voice, f0_factor=f).pcm) for f in (0.88, 1.14)
    )
    assert high / low == pytest.approx(1.14 / 0.88, rel=0.08)


@pytest.mark.parametrize("voice", VOICES)
def test_what_was_said_before_changes_no_sample(speaker, voice):
    first = speaker.speak(SENTENCE, voice, 1.1, 0.95)
    for other in VOICES:
        speaker.speak("Something quite different.", other, 0.9, 1.1)
    again = speaker.speak(SENTENCE, voice, 1.1, 0.95)
    assert np.array_equal(first.pcm, again.pcm)
    assert first.phones == again.phones
    assert first.ends == again.ends


def test_stress_and_words_are_those_of_the_dictionary(speaker):
    assert speaker.pronounce("hello") == ("HH", "AH0", "L", "OW1")
    assert speaker.pronounce("a record") == ("AH0", "R", "EH1", "K", "ER0", "D")
    assert speaker.pronounce("blorficate"), "words that are none are pronounced by rule"


def test_segments_without_counterpart_are_refused():
    assert arpabet("pau", "0") == "SIL"
    assert arpabet("ax", "1") == "AH0"
    assert arpabet("iy", "1") == "IY1"
    assert arpabet("iy", "0") == "IY0"
    assert arpabet("ng", "1") == "NG"
    with pytest.raises(Unspeakable, match=r"^UNKNOWN_PHONE: .*'xx'"):
        arpabet("xx", "0")


def test_an_unknown_or_unloaded_voice_is_refused():
    with pytest.raises(ValueError, match=r"no voices \['bob'\].*'slt'"):
        Flite(["bob"])
    with pytest.raises(ValueError, match=r"'slt' is not loaded.*'kal16'"):
        Flite(["kal16"]).speak("Hello.", "slt")


def test_missing_libraries_are_named_with_the_remedy(monkeypatch):
    assert missing_libraries() == ()
    monkeypatch.setattr(flite, "LIBRARIES", ("libflite-absent.so.9",))
    assert missing_libraries(("slt",)) == ("libflite-absent.so.9",)
    with pytest.raises(ValueError, match=r"libflite-absent.*apt-get install flite.*piper-joe"):
        Flite()


def test_the_rung_flite_has_just_these_voices():
    assert VOICES_BY_RUNG["flite"] == tuple(VOICES)
    assert isinstance(load_speaker("flite", ["kal16"], {}), FliteProcess)
    with pytest.raises(ValueError, match=r"flite has no voices \['joe'\]"):
        load_speaker("flite", ["joe"], {})
    with pytest.raises(ValueError, match=r"voice_rung is 'espeak'"):
        load_speaker("espeak", ["joe"], {})
