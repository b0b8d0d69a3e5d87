"""Small stand-ins of published benchmarks in their published layouts, for rehearsals.

The pairs are those that our own tasks make from a prepared corpus, spoken by flite; what a reader
finds is what it finds in the user's copy: gold files, one wave file for each item.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ray_slm.corpora.utterance import Utterance
from ray_slm.tasks.task import Pair, Task

VOICES = ("slt", "kal16")
SILENCE = "SIL"


class Said(NamedTuple):
    """One side of a pair in one voice; ``correct`` is 1 for the positive side."""

    number: int
    pair: Pair
    voice: str
    correct: int
    utterance: Utterance


def write_zerospeech(
    folder: Path, corpus: Path, words: Task, sentences: Task, assets: Mapping[str, Path]
) -> None:
    """``lexical/dev`` and ``syntactic/dev`` of the 2021 benchmark."""
    rows = []
    for said in _spoken(folder / "lexical" / "dev", corpus, words, VOICES, assets):
        phones = [phone for phone in said.utterance.phones if phone != SILENCE]
        own = {"frequency": 10, "word": said.utterance.transcript, "phones": " ".join(phones)}
        rows.append(_row(said) | own | {"length": len(phones), "correct": said.correct})
    _write(folder / "lexical" / "dev" / "gold.csv", rows)
    rows = []
    for said in _spoken(folder / "syntactic" / "dev", corpus, sentences, VOICES, assets):
        own = {"type": said.pair.type, "subtype": said.pair.subtype}
        text = {"transcription": said.utterance.transcript, "correct": said.correct}
        rows.append(_row(said) | own | text)
    _write(folder / "syntactic" / "dev" / "gold.csv", rows)


def write_stories(folder: Path, corpus: Path, stories: Task, assets: Mapping[str, Path]) -> None:
    """``tSC``: files named by number, story and side, and a table of what they say."""
    root, rows = folder / "tSC", []
    for said in _spoken(root, corpus, stories, VOICES[:1], assets):
        side = "correct" if said.correct else "incorrect"
        name = f"{2 * said.number + 1 - said.correct}_{said.pair.id}_{side}"
        (root / f"{_name(said)}.wav").rename(root / f"{name}.wav")
        rows.append({"filename": name, "text": said.utterance.transcript})
    _write(root / "transcripts.csv", rows)


def _spoken(
    folder: Path, corpus: Path, task: Task, voices: Sequence[str], assets: Mapping[str, Path]
) -> Iterator[Said]:
    """Every side of every pair, its wave file written into ``folder``."""
    import soundfile

    from ray_slm.corpora.audio import read_audio
    from ray_slm.corpora.synthesis import load_speaker
    from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, read_utterances
    from ray_slm.tasks.items import SIDES, item_id, prepare_shard

    made, pairs = folder / "made", task.items(corpus).pairs
    lost = prepare_shard(pairs, voices, 0, 1, made, load_speaker("flite", voices, assets))
    assert not lost, lost
    spoken = {utterance.id: utterance for utterance in read_utterances(made)}
    for number, pair in enumerate(pairs):
        for voice in voices:
            for side in SIDES:
                utterance = spoken[item_id(pair.id, side, voice)]
                said = Said(number, pair, voice, int(side == SIDES[0]), utterance)
                path = folder / f"{_name(said)}.wav"
                soundfile.write(path, read_audio(made, utterance), SAMPLE_RATE_HZ, "PCM_16")
                yield said


def _name(said: Said) -> str:
    return f"{said.number:04d}_{said.voice}_{said.correct}"


def _row(said: Said) -> dict[str, object]:
    return {"filename": _name(said), "id": said.number, "voice": said.voice}


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
