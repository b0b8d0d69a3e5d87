"""Small copies of published benchmarks in exactly their layouts, written into a folder."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import soundfile

VOICES = ("A", "D")
WORDS = (  # word, its phones, non-word, its phones, frequency
    ("brick", "B R IH1 K", "blick", "B L IH1 K", 120),
    ("garden", "G AA1 R D AH0 N", "garpen", "G AA1 R P AH0 N", 30),
    ("window", "W IH1 N D OW0", "wimbow", "W IH1 M B OW0", 4),
    ("silver", "S IH1 L V ER0", "silder", "S IH1 L D ER0", 0),
    ("market", "M AA1 R K AH0 T", "marget", "M AA1 R G AH0 T", 20),
)
SENTENCES = (
    ("agreement", "subject_verb", "the dogs bark", "the dogs barks"),
    ("agreement", "subject_verb", "a cat sleeps", "a cat sleep"),
    ("agreement", "determiner", "these books fell", "this books fell"),
    ("binding", "reflexive", "she saw herself", "she saw himself"),
)


def tone(path, seconds=0.5, pitch=220.0):
    """A wave file that is no silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(16_000 * seconds)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time), 16_000, subtype="PCM_16")


def write_csv(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def lexical_rows(with_non_words=True, seed=0):
    """gold.csv of lexical/dev, in no order at all."""
    rows = []
    for number, (word, phones, non_word, other, frequency) in enumerate(WORDS):
        for voice in VOICES:
            for correct, text, spelled in ((1, word, phones), (0, non_word, other)):
                rows.append(
                    {
                        "filename": f"{text[::-1]}{voice}",
                        "id": number,
                        "voice": voice,
                        "frequency": frequency,
                        "word": text if correct or with_non_words else "",
                        "phones": spelled,
                        "length": len(spelled.split()),
                        "correct": correct,
                    }
                )
    random.Random(seed).shuffle(rows)
    return rows


def syntactic_rows(seed=0):
    """gold.csv of syntactic/dev, in no order; ids begin anew in each subtype."""
    rows, numbers = [], {}
    for kind, subtype, good, bad in SENTENCES:
        number = numbers[kind, subtype] = numbers.get((kind, subtype), -1) + 1
        for voice in VOICES:
            for correct, text in ((1, good), (0, bad)):
                rows.append(
                    {
                        "filename": f"{kind[0]}{subtype[0]}{number}{voice}{correct}",
                        "id": number,
                        "voice": voice,
                        "type": kind,
                        "subtype": subtype,
                        "transcription": text,
                        "correct": correct,
                    }
                )
    random.Random(seed).shuffle(rows)
    return rows


def zerospeech(folder: Path, *, audio: bool = True) -> Path:
    """lexical/dev and syntactic/dev of the 2021 benchmark."""
    for level, rows in (("lexical", lexical_rows()), ("syntactic", syntactic_rows())):
        write_csv(folder / level / "dev" / "gold.csv", rows)
        for number, row in enumerate(rows if audio else ()):
            tone(folder / level / "dev" / f"{row['filename']}.wav", pitch=150 + 10 * number)
    return folder


def babyslm(folder: Path) -> Path:
    """lexical/dev of BabySLM: two non-words for each word, names with voices."""
    rows = []
    for row in lexical_rows():
        name = "_".join(row["phones"].split())
        rows.append({**row, "filename": f"{name}-{row['voice']}"})
        if row["correct"] == 0:
            other = row["phones"].replace("AH0", "IH0").replace("IH1", "EH1")
            if other != row["phones"]:
                other_name = "_".join(other.split())
                rows.append({**row, "filename": f"{other_name}-{row['voice']}", "phones": other})
    write_csv(folder / "lexical" / "dev" / "gold.csv", rows)
    return folder


def spoken_story_cloze(folder: Path, num_stories: int = 3) -> Path:
    """tSC: <k>_<storyid>_correct.wav with even k, k + 1 the incorrect one."""
    for number in range(num_stories):
        story = f"138d5bfb-05cc-41e3-{number:04d}"
        tone(folder / "tSC" / f"{2 * number}_{story}_correct.wav", pitch=200 + number)
        tone(folder / "tSC" / f"{2 * number + 1}_{story}_incorrect.wav", pitch=300 + number)
    return folder


def story_cloze(folder: Path) -> Path:
    """The CSV file of the written StoryCloze."""
    told = [
        {f"InputSentence{i}": f"Sentence {i} of story {s}." for i in range(1, 5)} for s in "abc"
    ]
    rows = [
        {
            "InputStoryid": f"{number}-x",
            **sentences,
            "RandomFifthSentenceQuiz1": f"First ending {number}.",
            "RandomFifthSentenceQuiz2": f"Second ending {number}.",
            "AnswerRightEnding": 1 + number % 2,
        }
        for number, sentences in enumerate(told)
    ]
    write_csv(folder / "cloze_test.csv", rows)
    return folder


def blimp(folder: Path) -> Path:
    """Two paradigms of BLiMP with all the fields of its lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for uid in ("anaphor_gender_agreement", "wh_island"):
        lines = [
            {
                "sentence_good": f"Katherine can't help herself {n}.",
                "sentence_bad": f"Katherine can't help himself {n}.",
                "field": "morphology",
                "linguistics_term": uid.split("_")[0],
                "UID": uid,
                "simple_LM_method": True,
                "one_prefix_method": True,
                "two_prefix_method": False,
                "lexically_identical": False,
                "pairID": str(n),
            }
            for n in range(4)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{uid}.jsonl").write_text(text)
    return folder
