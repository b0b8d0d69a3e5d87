"""Hand-made utterances whose text, phones and sound belong together, and a very small HuBERT."""

import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from ray_slm.corpora.lexicon import PHONES
from ray_slm.corpora.utterance import Quarantined, Utterance, as_table
from tests.units.small_hubert import save_small

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPOKEN = [phone for phone in PHONES if phone not in ("SIL", "SPN")]


def tokenize(tokenizer, utterances, waveform) -> list[np.ndarray | Quarantined]:
    """The tokens of each utterance, or why it has none."""
    return tokenize_table(tokenizer, as_table(utterances), waveform)


def tokenize_table(tokenizer, table, waveform) -> list[np.ndarray | Quarantined]:
    flat, lengths, refused, _ = tokenizer.tokenize(table, waveform)
    assert flat.dtype == np.uint16
    assert all(len(ids) or i in refused for i, ids in enumerate(parts(flat, lengths)))
    return [refused.get(i, ids) for i, ids in enumerate(parts(flat, lengths))]


def parts(flat, lengths) -> list[np.ndarray]:
    return np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []


def tables(utterances) -> list:
    """Utterances as a corpus is read: table by table."""
    return [as_table(utterances[i : i + 50]) for i in range(0, len(utterances), 50)]


class Speech(NamedTuple):
    """Utterances of the training split, and the function that gives their waveforms."""

    utterances: list[Utterance]
    waveform: object


def make_speech(num_utterances: int = 120, seed: int = 0) -> Speech:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 8))) for _ in range(60)]
    utterances = [
        _utterance(f"utt-{i:04d}", rng.choice(words, 6), rng) for i in range(num_utterances)
    ]
    voices = {utterance.id: utterance for utterance in utterances}
    return Speech(utterances, lambda heard: waveform(voices[heard.id]))


def _utterance(utterance_id: str, words, rng) -> Utterance:
    phones = ["SIL"]
    for number, word in enumerate(words):
        phones += [SPOKEN[LETTERS.index(letter) * 2] for letter in word]
        phones += ["SIL"] * int(number % 3 == 2)
    ends = np.cumsum(rng.integers(500, 1100, len(phones)))
    return Utterance(
        id=utterance_id,
        split="train",
        speaker=str(rng.choice(["low", "high"])),
        book="none",
        transcript=" ".join(words).capitalize() + ".",
        audio="none.wav",
        start=0,
        num_samples=int(ends[-1]),
        phones=tuple(phones),
        ends=tuple(int(end) for end in ends),
        aligned_by="this test",
    )


def waveform(utterance: Utterance) -> np.ndarray:
    """A tone per phone, higher for one speaker, in noise that the id decides."""
    digest = hashlib.sha256(utterance.id.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    pitch = 1.3 if utterance.speaker == "high" else 1.0
    samples = np.zeros(utterance.num_samples, np.float32)
    start = 0
    for phone, end in zip(utterance.phones, utterance.ends, strict=True):
        if phone != "SIL":
            hertz = pitch * (150 + 90 * PHONES.index(phone))
            samples[start:end] = 0.3 * np.sin(2 * np.pi * hertz * np.arange(end - start) / 16_000)
        start = end
    return samples + rng.normal(0, 0.01, len(samples)).astype(np.float32)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Small models gain nothing by threads, and lose much on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def speech() -> Speech:
    return make_speech()


@pytest.fixture(scope="session")
def say():
    """Make one utterance: ``say(transcript="...", phones=(...), ends=(...))``."""
    template = make_speech(1).utterances[0]

    def make(**changes) -> Utterance:
        if "phones" in changes and "ends" not in changes:
            changes["ends"] = tuple(1600 * (i + 1) for i in range(len(changes["phones"])))
        if changes.get("ends") and "num_samples" not in changes:
            changes["num_samples"] = changes["ends"][-1]
        return dataclasses.replace(template, **changes)

    return make


@pytest.fixture(scope="session")
def small_hubert(tmp_path_factory) -> tuple[Path, str]:
    """A folder with a small HuBERT, and the sha256 of its weights."""
    folder = tmp_path_factory.mktemp("hubert")
    return folder, save_small(folder)
