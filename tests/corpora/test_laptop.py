import collections
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from ray_slm.corpora.corpus import Corpus, prepare_all
from ray_slm.corpora.held_out import HELD_OUT
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.corpora.text import TEXT_SYMBOLS, clean_text
from ray_slm.corpora.utterance import read_utterances, shard_of

SMALL = LaptopCorpus(train_hours=0.02, dev_minutes=0.4, num_shards=2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, places):
    folder = tmp_path_factory.mktemp("laptop")
    return folder, prepare_all(SMALL, folder, places)


def test_it_is_a_corpus():
    corpus: Corpus = LaptopCorpus()
    assert corpus.name == "laptop"


def test_it_is_planned_without_heavy_imports():
    program = (
        "import sys, ray_slm.corpora.laptop as laptop; laptop.LaptopCorpus()\n"
        "heavy = {'torch', 'ray', 'transformers', 'sklearn', 'pandas', 'whisper', 'pocketsphinx'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_lines_are_sentences_of_the_right_books_and_lengths(places):
    lines = LaptopCorpus(train_hours=0.5, dev_minutes=5.0).lines(places)
    books = collections.defaultdict(set)
    for line in lines:
        books[line.split].add(line.book)
        assert 3 <= len(clean_text(line.text).split()) <= 30
        assert set(clean_text(line.text)) <= set(TEXT_SYMBOLS)
        assert line.id.rsplit("-", 1)[0] == line.book
    assert books["train"] == set(SMALL.train_books)
    assert books["dev"] == {"northanger-abbey"}
    ids = [line.id for line in lines]
    assert ids == sorted(set(ids))


def test_voices_are_shared_out_evenly_whatever_the_shard(places):
    lines = LaptopCorpus().lines(places)
    for shard in (None, 0):
        speakers = collections.Counter(
            x.speaker for x in lines if shard is None or shard_of(x.id, 2) == shard
        )
        assert set(speakers) == {"rms", "slt", "awb", "kal16"}
        assert max(speakers.values()) < 1.3 * min(speakers.values())


def test_a_longer_corpus_holds_the_shorter_one(places):
    short = set(SMALL.lines(places))
    long = set(dataclasses.replace(SMALL, train_hours=0.1).lines(places))
    assert short < long


def test_more_hours_than_there_are_is_refused(places):
    with pytest.raises(
        ValueError, match=r"northanger-abbey hold \d\.\d+ h.*50\.00 h asked for in dev"
    ):
        LaptopCorpus(train_hours=0.1, dev_minutes=3000.0).lines(places)


def test_the_prepared_corpus_lasts_about_as_long_as_asked(prepared):
    _, summary = prepared
    assert summary["splits"]["train"]["hours"] == pytest.approx(0.02, rel=0.2)
    assert summary["splits"]["dev"]["hours"] == pytest.approx(0.4 / 60, rel=0.4)
    assert summary["quarantined"] == {}
    assert summary["num_shards"] == 2


def test_utterances_are_the_lines_each_in_its_shard(prepared, places):
    folder, summary = prepared
    lines = {line.id: line for line in SMALL.lines(places)}
    utterances = {u.id: u for u in read_utterances(folder)}
    assert utterances.keys() == lines.keys()
    assert summary["candidates"] == len(lines)
    for name, utterance in utterances.items():
        line = lines[name]
        assert utterance.transcript == clean_text(line.text)
        assert (utterance.speaker, utterance.split) == (line.speaker, line.split)
        assert utterance.audio == f"audio/shard-{shard_of(name, 2):05d}.wav"


def test_phones_come_at_the_rate_of_speech(prepared):
    utterances = list(read_utterances(prepared[0]))
    seconds = sum(u.duration for u in utterances)
    phones = sum(phone != "SIL" for u in utterances for phone in u.phones)
    words = sum(len(u.transcript.split()) for u in utterances)
    assert 9 < phones / seconds < 12
    assert 150 < 60 * words / seconds < 200


def test_preparing_a_shard_again_changes_no_byte(prepared, places, tmp_path):
    folder, _ = prepared
    SMALL.prepare_shard(1, tmp_path, places)
    made = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    assert len(made) == 4
    for path in made:
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes()


def test_a_shard_that_was_not_prepared_is_named(places, tmp_path):
    SMALL.prepare_shard(1, tmp_path, places)
    with pytest.raises(ValueError, match="shard 0 has not been prepared"):
        SMALL.finish(tmp_path)


def test_held_out_sentences_are_consecutive_and_of_the_books_asked_for(prepared, places):
    sentences = SMALL.held_out_sentences(places, ("persuasion",))
    assert [s.number for s in sentences] == list(range(len(sentences)))
    assert len(sentences) > 3000
    assert sentences[0].text.startswith("Sir Walter Elliot, of Kellynch Hall")
    turns = np.diff([s.paragraph for s in sentences])
    assert set(turns) == {0, 1}
    assert 900 < sum(turns) < 1035 - 24, "blocks of text less the headings"
    rows = [json.loads(line) for line in (prepared[0] / HELD_OUT).read_text().splitlines()]
    assert {row["book"] for row in rows} == {"persuasion", "northanger-abbey"}
    assert [tuple(row.values()) for row in rows if row["book"] == "persuasion"] == sentences


def test_training_books_are_not_held_out(places):
    with pytest.raises(ValueError, match=r"\['emma'\] are training books"):
        SMALL.held_out_sentences(places, ("persuasion", "emma"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"voices": ("joe",)}, r"flite has no voices \['joe'\]"),
        ({"voices": ()}, "flite has no voices"),
        ({"voice_rung": "espeak"}, "voice_rung is 'espeak'"),
        ({"test_books": ("emma",)}, "must be different ones"),
        ({"dev_books": ("dracula",)}, "must be different ones"),
        ({"train_hours": 0.0}, "train_hours=0.0"),
        ({"num_shards": 0}, "num_shards=0"),
        ({"min_words": 31}, "min_words=31"),
    ],
)
def test_impossible_corpora_are_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        LaptopCorpus(**changes)


def test_novels_of_another_digest_are_refused(places):
    with pytest.raises(ValueError, match="novels_sha256=00"):
        LaptopCorpus(novels_sha256="00").lines(places)
