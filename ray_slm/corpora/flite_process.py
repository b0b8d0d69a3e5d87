"""flite in a process of its own, so that nothing else draws from its random numbers.

The clustergen voices excite unvoiced sounds with the C library's ``rand``.  Seeding it before
each text gives equal samples only while no other thread of the process calls it, and a cluster
worker has such threads.  The child is plain Python with one thread; it ends when its input does.
"""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import IO

import numpy as np

from ray_slm.corpora.synthesis import Spoken, Unspeakable


@cache
def flite_process(voices: tuple[str, ...]) -> "FliteProcess":
    """The child with these voices, one per process and closed with it."""
    speaker = FliteProcess(voices)
    atexit.register(speaker.close)
    return speaker


class FliteProcess:
    """A speaker like ``flite.Flite``, whose samples follow from its arguments alone."""

    aligned_by = "synthesis timings"

    def __init__(self, voices: Sequence[str]) -> None:
        command = [sys.executable, "-m", "ray_slm.corpora.flite_process", *voices]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._answer()  # the child is ready, or says what it lacks
        except ValueError:
            self.close()
            raise

    def speak(self, text: str, voice: str, stretch: float = 1.0, f0_factor: float = 1.0) -> Spoken:
        """As ``flite.Flite.speak``: int16 (S,), phones (P,), ends (P,); raises Unspeakable."""
        answer, pcm = self._ask("speak", text, voice, stretch, f0_factor)
        return Spoken(pcm, tuple(answer["phones"]), tuple(answer["ends"]))

    def speak_phones(
        self, phones: Sequence[str], voice: str, ends: Sequence[int] | None = None
    ) -> np.ndarray:
        """As ``flite.Flite.speak_phones``: int16 (S,)."""
        return self._ask("speak_phones", [*phones], voice, None if ends is None else [*ends])[1]

    def close(self) -> None:
        """End the child."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()

    def _ask(self, verb: str, *arguments: object) -> tuple[dict, np.ndarray]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps([verb, *arguments]).encode() + b"\n")
        self._child.stdin.flush()
        return self._answer()

    def _answer(self) -> tuple[dict, np.ndarray]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"flite's process ended with status {self._child.wait()}")
        answer = json.loads(line)
        if "unspeakable" in answer:
            raise Unspeakable(*answer["unspeakable"])
        if "error" in answer:
            raise ValueError(answer["error"])
        pcm = self._child.stdout.read(2 * answer["num_samples"])
        return answer, np.frombuffer(pcm, dtype=np.int16).copy()


def serve(voices: Sequence[str], requests: IO[bytes], answers: IO[bytes]) -> None:
    """The child's side: a JSON line per request, and after it the samples as int16 bytes."""
    from ray_slm.corpora.flite import Flite

    def answer(content: dict, pcm: bytes = b"") -> None:
        answers.write(json.dumps(content).encode() + b"\n" + pcm)
        answers.flush()

    try:
        flite = Flite(tuple(voices))
    except ValueError as error:
        answer({"error": str(error)})
        return
    answer({"num_samples": 0})
    for request in requests:
        try:
            verb, *arguments = json.loads(request)
            with _quiet():
                if verb == "speak_phones":
                    spoken = Spoken(flite.speak_phones(*arguments), (), ())
                else:
                    spoken = flite.speak(*arguments)
        except Unspeakable as error:
            answer({"unspeakable": [error.reason, error.detail]})
        except ValueError as error:
            answer({"error": str(error)})
        else:
            about = {"num_samples": len(spoken.pcm), "phones": spoken.phones, "ends": spoken.ends}
            answer(about, spoken.pcm.astype("<i2").tobytes())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line that flite prints for every pair of phones its voice never said."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    serve(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer)
