"""Published benchmarks read from a copy in exactly their layout."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
import soundfile

from ray_slm.corpora.flite import Flite
from ray_slm.corpora.inventory import DEFAULT_FILE, read_inventory
from ray_slm.corpora.utterance import read_utterances
from ray_slm.modalities.modality import Modality
from ray_slm.modalities.phone_raw import MODALITY as PHONE_RAW
from ray_slm.modalities.text_raw import MODALITY as TEXT_RAW
from ray_slm.recipes import PrepareItems, Tokenize
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages.local import execute
from ray_slm.stages.site import Site
from ray_slm.tasks.blimp import Blimp
from ray_slm.tasks.discovery import discover
from ray_slm.tasks.recorded import check_digest, phone_spellings
from ray_slm.tasks.recorded_shard import our_phones
from ray_slm.tasks.story_cloze import StoryCloze
from ray_slm.tokens import TokenStore
from tests.tasks import published

TASKS = discover()
WORDS, SENTENCES = TASKS["zerospeech-swuggy"], TASKS["zerospeech-sblimp"]
SAFE = re.compile(r"[a-z0-9-]+\.(positive|negative)\.[a-z0-9-]+")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_words_join_on_id_and_voice_and_carry_their_band(tmp_path):
    made = WORDS.recorded(published.zerospeech(tmp_path))
    assert len(made.pairs) == len(published.WORDS)
    assert len(made.recordings) == 2 * len(published.VOICES) * len(published.WORDS)
    pairs = {(p.positive, p.negative, p.band) for p in made.pairs}
    assert ("brick", "blick", "100+") in pairs
    assert ("silver", "silder", "0 (oov)") in pairs
    assert ("market", "marget", "20-99") in pairs  # half-open: 20 begins a band
    assert all(SAFE.fullmatch(r.id) for r in made.recordings)
    assert {r.audio for r in made.recordings if r.official == "kcirbA"} == {
        "lexical/dev/kcirbA.wav"
    }
    assert len({r.id for r in made.recordings}) == len(made.recordings)


def test_the_order_of_gold_rows_changes_no_pair(tmp_path):
    folder = published.zerospeech(tmp_path, audio=False)
    before = WORDS.recorded(folder), SENTENCES.recorded(folder)
    published.write_csv(folder / "lexical/dev/gold.csv", published.lexical_rows(seed=9))
    published.write_csv(folder / "syntactic/dev/gold.csv", published.syntactic_rows(seed=9))
    after = WORDS.recorded(folder), SENTENCES.recorded(folder)
    for one, other in zip(before, after, strict=True):
        assert set(one.pairs) == set(other.pairs)
        assert set(one.recordings) == set(other.recordings)


@pytest.mark.parametrize("name", ["zerospeech-sblimp", "babyslm-syntactic"])
def test_sentences_join_on_type_subtype_id_and_voice(tmp_path, name):
    made = TASKS[name].recorded(published.zerospeech(tmp_path))
    assert {(p.type, p.subtype, p.positive, p.negative) for p in made.pairs} == set(
        published.SENTENCES
    )
    assert {p.cluster for p in made.pairs} == {f"{a}/{b}" for a, b, *_ in published.SENTENCES}


def test_a_word_may_have_several_non_words(tmp_path):
    made = TASKS["babyslm-lexical"].recorded(published.babyslm(tmp_path))
    assert len(made.pairs) > len(published.WORDS)
    assert len({p.cluster for p in made.pairs}) == len(published.WORDS)
    gold = {row["filename"] for row in read(tmp_path / "lexical/dev/gold.csv")}
    assert {r.official for r in made.recordings} == gold
    with pytest.raises(ValueError, match="two non-words of one id"):
        dataclasses.replace(WORDS, folder="lexical/dev").recorded(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "to be paired: id|partner"),
        (lambda rows: [*rows, rows[0]], "duplicate"),
        (lambda rows: [{**rows[0], "correct": 2}, *rows[1:]], "use 0 or 1"),
        (lambda rows: [{k: v for k, v in r.items() if k != "voice"} for r in rows], "no columns"),
    ],
    ids=["missing", "doubled", "neither", "column"],
)
@pytest.mark.parametrize("level", ["lexical", "syntactic"])
def test_rows_that_do_not_pair_are_refused_by_name(tmp_path, level, change, message):
    rows = published.lexical_rows() if level == "lexical" else published.syntactic_rows()
    published.write_csv(tmp_path / level / "dev" / "gold.csv", change(rows))
    task = WORDS if level == "lexical" else SENTENCES
    with pytest.raises(ValueError, match=message):
        task.recorded(tmp_path)


def test_audio_that_the_gold_file_names_must_be_there(tmp_path):
    folder = published.zerospeech(tmp_path)
    (folder / "lexical/dev/kcirbA.wav").unlink()
    with pytest.raises(ValueError, match="missing: kcirbA"):
        WORDS.recorded(folder)


def test_stories_join_on_the_storys_id(tmp_path):
    task = TASKS["tsc"]
    made = task.recorded(published.spoken_story_cloze(tmp_path))
    assert len(made.pairs) == 3
    assert {r.text for r in made.recordings} == {""}
    texts = [{"filename": r.official, "text": f"Text of {r.official}"} for r in made.recordings]
    published.write_csv(tmp_path / "tSC/transcripts.csv", texts)
    assert all(r.text == f"Text of {r.official}" for r in task.recorded(tmp_path).recordings)
    published.write_csv(tmp_path / "tSC/transcripts.csv", texts[1:])
    with pytest.raises(ValueError, match=re.escape(texts[0]["filename"])):
        task.recorded(tmp_path)
    (tmp_path / "tSC/transcripts.csv").unlink()
    published.tone(tmp_path / "tSC/99_other_correct.wav")
    with pytest.raises(ValueError, match="without a partner: 99_other_correct"):
        task.recorded(tmp_path)


def test_written_stories_have_the_right_ending_and_another(tmp_path):
    folder = published.story_cloze(tmp_path)
    first, second, _ = StoryCloze().read(folder).pairs
    assert first.positive.endswith("Sentence 4 of story a. First ending 0.")
    assert first.negative.endswith("Sentence 4 of story a. Second ending 0.")
    assert second.positive.endswith("Second ending 1.")
    topic = StoryCloze(topic=True).read(folder).pairs
    endings = [pair.positive.split(". ")[-1] for pair in topic]
    foreign = [pair.negative.split(". ")[-1] for pair in topic]
    assert sorted(endings) == sorted(foreign)
    assert all(a != b for a, b in zip(endings, foreign, strict=True))
    plain = StoryCloze(plain=True).read(folder).pairs[0].positive
    assert plain.startswith("sentence 1 of story a sentence 2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[1]], "duplicate 1-x"),
        (lambda rows: [{**rows[0], "AnswerRightEnding": "3"}, *rows[1:]], "0-x: .* is '3'"),
        (lambda rows: [{**rows[0], "InputSentence3": " "}, *rows[1:]], "0-x: .* is empty"),
        (
            lambda rows: [
                *rows[:2],
                {**rows[2], "RandomFifthSentenceQuiz1": rows[2]["RandomFifthSentenceQuiz2"]},
            ],
            "2-x: .* equal",
        ),
        (lambda rows: [{k: v for k, v in r.items() if k != "InputStoryid"} for r in rows], "Story"),
    ],
    ids=["doubled", "neither", "empty", "equal", "column"],
)
def test_written_stories_that_cannot_be_decided_are_refused_by_name(tmp_path, change, message):
    file = published.story_cloze(tmp_path) / "cloze_test.csv"
    published.write_csv(file, change(read(file)))
    with pytest.raises(ValueError, match=message):
        StoryCloze().read(tmp_path)


def test_sentences_that_differ_in_marks_alone_are_refused_where_marks_are_dropped(tmp_path):
    folder = published.blimp(tmp_path)
    path = folder / "wh_island.jsonl"
    first, *others = (json.loads(line) for line in path.read_text().splitlines())
    alike = {**first, "sentence_bad": first["sentence_good"].replace("can't", "Can't,")}
    path.write_text("\n".join(json.dumps(row) for row in (*others, alike)))
    assert len(Blimp().read(folder).pairs) == 8
    with pytest.raises(ValueError, match=r"wh_island\.jsonl:4: .* equal"):
        Blimp(plain=True).read(folder)


def test_blimp_reads_a_file_per_paradigm(tmp_path):
    folder = published.blimp(tmp_path)
    pairs = Blimp().read(folder).pairs
    assert len(pairs) == 8
    assert {p.cluster for p in pairs} == {"anaphor_gender_agreement", "wh_island"}
    assert pairs[0].positive == "Katherine can't help herself 0."
    assert len(Blimp(num_pairs=1).read(folder).pairs) == 2
    broken = folder / "wh_island.jsonl"
    lines = broken.read_text().splitlines()
    broken.write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(ValueError, match="duplicate blimp-wh-island-0"):
        Blimp().read(folder)
    broken.write_text(json.dumps({"sentence_good": "a"}))
    with pytest.raises(ValueError, match=r"wh_island\.jsonl:1"):
        Blimp().read(folder)


def test_a_digest_pins_the_copy(tmp_path):
    folder = published.zerospeech(tmp_path)
    pinned = dataclasses.replace(WORDS, digest=WORDS.digest_of(folder))
    check_digest(pinned, folder)
    published.tone(folder / "lexical/dev/another.wav")
    with pytest.raises(ValueError, match="is not the copy"):
        check_digest(pinned, folder)


def test_gold_phones_need_a_spelling_that_is_known(tmp_path):
    made = WORDS.recorded(published.zerospeech(tmp_path, audio=False))
    plain = [r._replace(phones=tuple(p.rstrip("012").lower() for p in r.phones)) for r in made[1]]
    phones = our_phones(plain, phone_spellings(tmp_path))
    by_name = {r.official: phones[r.id] for r in plain}
    assert by_name["kcirbA"] == ("B", "R", "IH1", "K")
    foreign = [plain[0]._replace(phones=("\u026a",))]
    with pytest.raises(ValueError, match="none of ours: \u026a"):
        our_phones(foreign, phone_spellings(tmp_path))
    lines = DEFAULT_FILE.read_text().splitlines()
    (tmp_path / "phones.txt").write_text(
        "\n".join(line + " \u026a" if line.split()[:1] == ["IH1"] else line for line in lines),
        encoding="utf-8",
    )
    assert our_phones(foreign, phone_spellings(tmp_path))[plain[0].id] == ("IH1",)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "phones.txt").write_text("AA x\nSIL sil2\n")
    with pytest.raises(ValueError, match="same phones"):
        phone_spellings(tmp_path / "other")
    assert read_inventory(DEFAULT_FILE) == phone_spellings(tmp_path / "nowhere")


def spoken_zerospeech(folder):
    """The lexical benchmark with real speech: flite says the gold phones' words."""
    flite = Flite(("kal16", "slt"))
    rows = published.lexical_rows()
    published.write_csv(folder / "lexical/dev/gold.csv", rows)
    for row in rows:
        voice = {"A": "kal16", "D": "slt"}[row["voice"]]
        pcm = np.asarray(flite.speak(row["word"], voice).pcm)
        soundfile.write(folder / "lexical/dev" / f"{row['filename']}.wav", pcm, 16_000)
    return folder


def prepared(task, folder, root, places):
    site = Site(Store(root), {**places, task.place: folder})
    pinned = dataclasses.replace(task, digest=task.digest_of(folder))
    recipe = PrepareItems(task=pinned, voices=("kal16",), voice_rung="flite", num_shards=2)
    items = Stage(name=f"items/{task.name}", recipe=recipe)
    execute(items, site)
    return site, items


def tokenized(site, items, modality: Modality):
    name = f"tokens/{modality.name}/{items.recipe.task.name}"
    stage = Stage(name=name, recipe=Tokenize(stream=modality.stream), inputs={"corpus": items[""]})
    execute(stage, site)
    return TokenStore.open(site.store.path(stage.address), "items")


def test_recorded_words_become_items_in_every_form(tmp_path, places):
    folder = spoken_zerospeech(tmp_path / "copy")
    site, items = prepared(WORDS, folder, tmp_path / "runs", places)
    found = {u.id: u for u in read_utterances(site.store.path(items.address))}
    assert len(found) == 20
    (brick,) = (u for u in found.values() if u.transcript == "blick" and u.speaker == "a")
    spoken = [phone for phone in brick.phones if phone != "SIL"]
    assert spoken == ["B", "L", "IH1", "K"]
    assert brick.ends[-1] <= brick.num_samples
    assert len(tokenized(site, items, PHONE_RAW)) == len(tokenized(site, items, TEXT_RAW)) == 20


def test_without_audio_text_and_phones_remain(tmp_path, places):
    folder = published.zerospeech(tmp_path / "copy", audio=False)
    site, items = prepared(WORDS, folder, tmp_path / "runs", places)
    phones = tokenized(site, items, PHONE_RAW)
    assert len(phones) == 20
    assert set(phones.num_samples) == {0}


def test_written_items_are_spoken_by_the_studys_voices(tmp_path, places):
    folder = published.story_cloze(tmp_path / "copy")
    site, items = prepared(StoryCloze(), folder, tmp_path / "runs", places)
    found = list(read_utterances(site.store.path(items.address)))
    assert len(found) == 6
    assert all(u.num_samples > 16_000 and u.phones for u in found)


def test_a_copy_that_is_not_named_is_asked_for(tmp_path, places):
    folder = published.zerospeech(tmp_path / "copy", audio=False)
    site = Site(Store(tmp_path / "runs"), places)
    pinned = dataclasses.replace(WORDS, digest=WORDS.digest_of(folder))
    recipe = PrepareItems(task=pinned, voices=("kal16",), voice_rung="flite", num_shards=1)
    with pytest.raises(ValueError, match="--place zerospeech2021=FOLDER"):
        execute(Stage(name="items/x", recipe=recipe), site)
