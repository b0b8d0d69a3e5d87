"""flite in its own process: the same samples whatever else this process does."""

import ctypes
import threading

import numpy as np
import pytest

from ray_slm.corpora.flite import Flite
from ray_slm.corpora.flite_process import FliteProcess

TEXT = "She sells fresh fish on the south coast of the island, as his sister has always said."


@pytest.fixture
def process():
    speaker = FliteProcess(("slt", "kal16"))
    yield speaker
    speaker.close()


@pytest.fixture
def busy_generator():
    """A thread that draws from the C library's random numbers all the time."""
    libc, stop = ctypes.CDLL(None), threading.Event()

    def draw():
        while not stop.is_set():
            libc.rand()

    thread = threading.Thread(target=draw)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_it_speaks_as_flite_does(process):
    expected = Flite(("slt",)).speak(TEXT, "slt", 1.1, 0.95)
    spoken = process.speak(TEXT, "slt", 1.1, 0.95)
    assert np.array_equal(spoken.pcm, expected.pcm)
    assert (spoken.phones, spoken.ends) == (expected.phones, expected.ends)


def test_other_threads_do_not_disturb_it(process, busy_generator):
    """In this process they would: the samples of one text differ from call to call."""
    flite = Flite(("slt",))
    here = [flite.speak(TEXT, "slt").pcm for _ in range(3)]
    assert not all(np.array_equal(here[0], other) for other in here[1:])
    there = [process.speak(TEXT, "slt").pcm for _ in range(3)]
    assert all(np.array_equal(there[0], other) for other in there[1:])


def test_an_unknown_voice_is_refused_by_name(process):
    with pytest.raises(ValueError, match="rms"):
        process.speak(TEXT, "rms")
    assert len(process.speak("It goes on.", "kal16").pcm) > 0


def test_an_unknown_voice_at_the_start_is_refused():
    with pytest.raises(ValueError, match="nobody"):
        FliteProcess(("nobody",))
