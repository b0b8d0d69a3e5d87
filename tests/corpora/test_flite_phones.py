"""Phones spoken by flite, with its own durations and with given ones."""

import numpy as np
import pytest

from ray_slm.corpora.flite import arpabet, flite_symbol
from ray_slm.corpora.flite_process import FliteProcess
from ray_slm.corpora.lexicon import PHONES

HELLO = ("SIL", "HH", "AH0", "L", "OW1", "W", "ER1", "L", "D", "SIL")


@pytest.fixture(scope="module")
def speaker():
    found = FliteProcess(("kal16", "slt"))
    yield found
    found.close()


def energy(pcm, start, stop):
    return float(np.square(pcm[start:stop].astype(np.float64)).mean())


def test_phones_last_as_long_as_they_are_told(speaker):
    ends = [16_000, *(16_000 + 3200 * (i + 1) for i in range(8)), 60_000]
    pcm = speaker.speak_phones(HELLO, "kal16", ends)
    assert abs(len(pcm) - 60_000) < 0.15 * 16_000
    loud = energy(pcm, 17_000, 40_000)
    assert loud > 100 * energy(pcm, 0, 15_000)
    assert loud > 100 * energy(pcm, 45_000, 58_000)


def test_given_durations_do_not_stay_behind(speaker):
    before = speaker.speak_phones(HELLO, "kal16")
    speaker.speak_phones(HELLO, "kal16", [1600 * (i + 1) for i in range(10)])
    assert np.array_equal(speaker.speak_phones(HELLO, "kal16"), before)
    spoken = speaker.speak("Hello world.", "kal16")
    assert np.array_equal(spoken.pcm, speaker.speak("Hello world.", "kal16").pcm)


@pytest.mark.parametrize("voice", ["kal16", "slt"])
def test_equal_phones_give_equal_samples(speaker, voice):
    first = speaker.speak_phones(HELLO, voice)
    assert np.array_equal(first, speaker.speak_phones(HELLO, voice))
    assert len(first) > 8_000


def test_any_phones_in_any_order_can_be_spoken(speaker):
    rng = np.random.default_rng(1)
    phones = [PHONES[i] for i in rng.integers(0, len(PHONES), 600)]
    ends = np.cumsum(320 * rng.integers(1, 9, 600)).tolist()
    pcm = speaker.speak_phones(phones, "kal16", ends)
    assert abs(len(pcm) - ends[-1]) < 8_000


def test_voices_that_choose_durations_themselves_take_none(speaker):
    with pytest.raises(ValueError, match="takes no durations"):
        speaker.speak_phones(HELLO, "slt", [1600 * (i + 1) for i in range(10)])


def test_symbols_come_back_from_flite():
    for phone in PHONES:
        name = flite_symbol(phone)
        stress = "1" if name.endswith("1") else "0"
        back = arpabet(name.rstrip("1"), stress)
        assert back == phone.replace("2", "0").replace("SPN", "SIL")
