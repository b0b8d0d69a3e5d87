import json
import re

import numpy as np
import pytest

from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.synthesis import Spoken, Unspeakable, load_speaker
from ray_slm.corpora.utterance import read_utterances
from ray_slm.tasks.items import finish_items, item_lines, prepare_shard, read_pairs
from ray_slm.tasks.task import Items, Pair

VOICES = ("rms", "slt")
NUM_SHARDS = 3


def pair(number: int, positive: str = "cottage", negative: str = "cansage") -> Pair:
    identity = f"swuggy-{number:04d}-{positive}"
    return Pair(
        id=identity,
        type="lexical",
        subtype="count 1-4",
        cluster=positive,
        positive=positive,
        negative=negative,
    )


class Recorder:
    """A synthesizer of tones that notes its manner and refuses some words."""

    aligned_by = "tones"

    def __init__(self, unspeakable: tuple[str, ...] = ()) -> None:
        self.unspeakable = unspeakable
        self.manners: dict[tuple[str, str], tuple[float, float]] = {}

    def speak(self, text, voice, stretch=1.0, f0_factor=1.0) -> Spoken:
        if text in self.unspeakable:
            raise Unspeakable("SYNTHESIS_FAILED", text)
        self.manners[text, voice] = (stretch, f0_factor)
        pcm = (1000 * np.sin(np.arange(800 * len(text)) / 9)).astype(np.int16)
        return Spoken(pcm, ("SIL", "AA1"), (300, len(pcm)))


def make(folder, pairs, speaker):
    for shard in range(NUM_SHARDS):
        prepare_shard(pairs, VOICES, shard, NUM_SHARDS, folder, speaker)
    items = Items(tuple(pairs), {"a baseline": 0.5})
    return finish_items(folder, items, VOICES, max_bad_fraction=1.0)


def test_every_side_is_spoken_in_every_voice_in_one_manner(tmp_path):
    pairs, speaker = [pair(1), pair(2, "village", "vilkage")], Recorder()
    summary = make(tmp_path, pairs, speaker)
    found = {u.id: u for u in read_utterances(tmp_path, ["items"])}
    assert set(found) == {
        f"{p.id}.{side}.{voice}"
        for p in pairs
        for side in ("positive", "negative")
        for voice in VOICES
    }
    assert found["swuggy-0002-village.negative.slt"].transcript == "vilkage"
    assert all(u.speaker == u.id.rsplit(".")[-1] and u.book == "swuggy" for u in found.values())
    assert all(len(read_audio(tmp_path, u)) == u.num_samples for u in found.values())
    for p in pairs:
        for voice in VOICES:
            assert speaker.manners[p.positive, voice] == speaker.manners[p.negative, voice]
    assert len(set(speaker.manners.values())) == len(pairs) * len(VOICES)
    assert read_pairs(tmp_path) == tuple(pairs)
    assert json.loads((tmp_path / "items.json").read_text()) == summary
    assert summary["remarks"] == {"a baseline": 0.5}


def test_a_pair_that_lost_a_side_is_left_out_whole_and_counted(tmp_path):
    pairs = [pair(1), pair(2, "village", "vilkage"), pair(3, "garden", "gardef")]
    summary = make(tmp_path, pairs, Recorder(unspeakable=("vilkage",)))
    assert read_pairs(tmp_path) == (pairs[0], pairs[2])
    spoken = {u.id for u in read_utterances(tmp_path)}
    assert not any(each.startswith("swuggy-0002") for each in spoken)
    quarantine = [json.loads(x) for x in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    reasons = {q["id"]: q["reason"] for q in quarantine}
    assert reasons == {
        f"swuggy-0002-village.{side}.{voice}": reason
        for side, reason in (("positive", "PAIR_BROKEN"), ("negative", "SYNTHESIS_FAILED"))
        for voice in VOICES
    }
    assert len(spoken) + len(quarantine) == len(item_lines(pairs, VOICES))
    assert list(summary["broken"]) == ["swuggy-0002-village"]


def test_finishing_again_changes_nothing(tmp_path):
    pairs = [pair(1), pair(2, "village", "vilkage")]
    first = make(tmp_path, pairs, Recorder(unspeakable=("vilkage",)))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    items = Items(tuple(pairs), {"a baseline": 0.5})
    assert finish_items(tmp_path, items, VOICES, max_bad_fraction=1.0) == first
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_too_many_broken_pairs_are_refused(tmp_path):
    pairs = [pair(1), pair(2, "village", "vilkage")]
    for shard in range(NUM_SHARDS):
        prepare_shard(pairs, VOICES, shard, NUM_SHARDS, tmp_path, Recorder(("vilkage",)))
    with pytest.raises(ValueError, match=r"2 of 8 candidates were left out"):
        finish_items(tmp_path, Items(tuple(pairs), {}), VOICES)


@pytest.mark.parametrize(
    ("pairs", "voices"),
    [([pair(1), pair(1)], VOICES), ([pair(1)], ("rms", "rms")), ([pair(1)], ())],
)
def test_ids_must_be_unique(pairs, voices):
    with pytest.raises(ValueError, match="different pair ids and different voices"):
        item_lines(pairs, voices)


def test_ids_are_safe_in_file_names():
    assert all(re.fullmatch(r"[a-z0-9.-]+", line.id) for line in item_lines([pair(1)], VOICES))


def test_items_of_every_task_can_be_spoken(tmp_path, made_by):
    chosen = [
        p for name in ("swuggy", "sblimp", "topic-storycloze") for p in made_by(name).pairs[:2]
    ]
    speaker = load_speaker("flite", VOICES, {})
    assert prepare_shard(chosen, VOICES, 0, 1, tmp_path, speaker) == []
    summary = finish_items(tmp_path, Items(tuple(chosen), {}), VOICES)
    assert summary["pairs"] == len(chosen)
    utterances = list(read_utterances(tmp_path))
    assert len(utterances) == len(chosen) * 2 * len(VOICES)
    assert max(u.duration for u in utterances) < 40.96  # a window of 2048 tokens at 50 Hz
