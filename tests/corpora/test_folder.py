import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from ray_slm.corpora.alignment import labels_at_50_hz
from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.corpus import prepare_all
from ray_slm.corpora.finish import quarantine_path
from ray_slm.corpora.flite import Flite
from ray_slm.corpora.folder import FolderCorpus
from ray_slm.corpora.folder_survey import folder_digest, held_out
from ray_slm.corpora.lexicon import PHONE_SET
from ray_slm.corpora.utterance import read_shard, read_utterances
from ray_slm.scheduling.store import result_files

TEXTS = {
    "a": "The garden was quiet.",
    "b": "She closed the door.",
    "c": "A letter came today.",
    "d": "He walked home alone.",
    "e": "Nobody said a word.",
    "f": "The rain had stopped.",
}


@pytest.fixture(scope="session")
def clips():
    """{name: int16 speech of TEXTS[name]}"""
    flite = Flite(("kal16",))
    return {name: flite.speak(text, "kal16").pcm for name, text in TEXTS.items()}


@pytest.fixture
def root(tmp_path, clips):
    """A sound directory: a.wav, a.txt to f.flac, f.txt."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in TEXTS.items():
        put(folder / f"{name}.{'wav' if name < 'd' else 'flac'}", clips[name], text)
    return folder


def put(path, pcm, text=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, pcm, 16_000)
    if text is not None:
        path.with_suffix(".txt").write_text(text)


def corpus_of(root, **changes):
    fields = {"num_shards": 2, "max_bad_fraction": 1.0, **changes}
    return FolderCorpus(name="mine", digest=folder_digest(root), **fields)


def prepared(root, places, out, **changes):
    """The corpus of a directory, prepared and finished: (summary, utterances, quarantine by id)."""
    summary = prepare_all(corpus_of(root, **changes), out, {**places, "mine": root})
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    return summary, list(read_utterances(out)), {q["id"]: q for q in map(json.loads, lines)}


def refusal(root, **changes):
    with pytest.raises(ValueError) as caught:
        corpus_of(root, **changes).candidates({"mine": root})
    return str(caught.value)


def splits(root, **changes):
    found = corpus_of(root, **changes).candidates({"mine": root})
    return {candidate.id: candidate.split for candidate in found}


def test_every_clip_comes_out_aligned_with_its_own_audio(root, places, tmp_path, clips):
    summary, utterances, quarantined = prepared(root, places, tmp_path / "out")
    assert quarantined == {}
    assert {u.id: u.transcript for u in utterances} == TEXTS
    for utterance in utterances:
        assert np.array_equal(read_audio(tmp_path / "out", utterance) * 32768, clips[utterance.id])
        assert set(utterance.phones) <= PHONE_SET
        assert utterance.aligned_by == "pocketsphinx 5.1.1 forced alignment"
        assert 0 <= utterance.num_samples - utterance.ends[-1] <= 400
    assert summary["candidates"] == summary["utterances"] == 6
    assert summary["counts"]["words"] == sum(len(text.split()) for text in TEXTS.values())


def test_phones_lie_where_they_were_said(root, places, tmp_path):
    _, utterances, _ = prepared(root, places, tmp_path / "out")
    flite, same = Flite(("kal16",)), []
    for utterance in utterances:
        said = flite.speak(utterance.transcript, "kal16")
        ends = [max(i + 1, end - 160) for i, end in enumerate(said.ends[:-1])]
        truth = labels_at_50_hz(said.phones, [*ends, len(said.pcm)], len(said.pcm))
        heard = labels_at_50_hz(utterance.phones, utterance.ends, utterance.num_samples)
        same += [a[:2] == b[:2] for a, b in zip(heard, truth, strict=True)]
    assert np.mean(same) > 0.75


def test_the_same_bytes_come_out_whatever_was_there_and_came_before(root, places, tmp_path):
    put(root / "bad.wav", np.zeros(16_000, np.int16), "All is silent.")
    corpus, everything = corpus_of(root), {**places, "mine": root}
    for out, order in (("one", (0, 1)), ("two", (1, 0, 0))):
        corpus.survey("directory", tmp_path / out, everything)
        for shard in order:
            corpus.prepare_shard(shard, tmp_path / out, everything)
        corpus.finish(tmp_path / out)
    files = [p.relative_to(tmp_path / "one") for p in result_files(tmp_path / "one")]
    assert len(files) == 2 * 4 + 3  # audio, counts, quarantine, table of each; sums, held-out
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_an_utterance_does_not_depend_on_its_neighbors(root, places, tmp_path):
    _, together, _ = prepared(root, places, tmp_path / "one", num_shards=1)
    (root / "a.wav").unlink()
    (root / "a.txt").unlink()
    _, without, _ = prepared(root, places, tmp_path / "two", num_shards=1)
    heard = {u.id: (u.phones, u.ends) for u in together}
    assert {u.id: (u.phones, u.ends) for u in without} == {i: heard[i] for i in "bcdef"}


def bad_audio(path, pcm, kind):
    if kind == "AUDIO_UNREADABLE":
        put(path.with_suffix(".flac"), pcm)
        raw = path.with_suffix(".flac").read_bytes()
        path.with_suffix(".flac").write_bytes(raw[: len(raw) // 2])
    elif kind == "AUDIO_EMPTY":
        path.touch()
    elif kind == "AUDIO_SILENT":
        put(path, np.zeros_like(pcm))
    elif kind == "AUDIO_TOO_LONG":
        put(path, np.tile(pcm, 30))
    elif kind == "AUDIO_CHANNELS":
        put(path, np.stack([pcm, pcm], axis=1))
    elif kind == "AUDIO_NAN":
        soundfile.write(path, np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    elif kind == "ALIGN_FAILED":
        put(path, pcm[8000:9000])
    else:
        assert kind == "AUDIO_MISSING"


BAD_AUDIO = {
    "AUDIO_MISSING": "no .wav or .flac file",
    "AUDIO_UNREADABLE": "decod",
    "AUDIO_EMPTY": "no bytes",
    "AUDIO_SILENT": "the peak is",
    "AUDIO_TOO_LONG": "at most 30.000 s",
    "AUDIO_CHANNELS": "2 channels",
    "AUDIO_NAN": "sample 0 is nan",
    "ALIGN_FAILED": "no alignment of 4 words with 0.062 s of audio",
}
BAD_TEXT = {
    "TEXT_MISSING": (None, "no .txt file"),
    "TEXT_EMPTY": (b"", "no letter"),
    "TEXT_ENCODING": (b"na\xefve", "not UTF-8 at byte 2"),
    "UNKNOWN_SYMBOL": ("caf\u00e9".encode(), "U+00E9"),
    "TEXT_DIGITS": (b"in 1811", "'1811'"),
    "UNKNOWN_WORD": (b"xqzvhk ' a", "'xqzvhk'"),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, places, clips):
    """A sound directory and one clip of each fault, named after it; then as `prepared`."""
    root = tmp_path_factory.mktemp("faulty") / "mine"
    for name in "abc":
        put(root / f"{name}.wav", clips[name], TEXTS[name])
    for reason in BAD_AUDIO:
        (root / f"{reason}.txt").write_text("There was no answer.")
        bad_audio(root / f"{reason}.wav", clips["a"], reason)
    for number, (reason, (raw, _)) in enumerate(BAD_TEXT.items()):
        put(root / f"{reason}.wav", clips["b"][number + 1 :])
        if raw is not None:
            (root / f"{reason}.txt").write_bytes(raw)
    return prepared(root, places, root.parent / "out", letter_to_sound=False, dev_fraction=0.5)


def test_only_sound_clips_come_out_and_every_fault_is_counted(faulty):
    summary, utterances, quarantined = faulty
    assert {u.id for u in utterances} == set("abc")
    assert {*quarantined} == {*BAD_AUDIO, *BAD_TEXT}
    assert summary["quarantined"] == dict.fromkeys(sorted(quarantined), 1)
    assert summary["candidates"] == 3 + len(quarantined)


@pytest.mark.parametrize("reason", BAD_AUDIO)
def test_bad_audio_is_left_out_with_its_reason(faulty, reason):
    left_out = faulty[2][reason]
    assert left_out["reason"] == reason
    assert BAD_AUDIO[reason] in left_out["detail"]
    assert left_out["stage"] == ("align" if reason == "ALIGN_FAILED" else "ingest")


@pytest.mark.parametrize("reason", BAD_TEXT)
def test_bad_text_is_left_out_with_its_reason(faulty, reason):
    left_out = faulty[2][reason]
    assert left_out["reason"] == reason
    assert BAD_TEXT[reason][1] in left_out["detail"]
    assert left_out["path"] == f"{reason}.wav"


def test_an_unknown_word_is_aligned_with_letter_to_sound(root, places, tmp_path):
    flite = Flite(("kal16",))
    text = "Mr Fotheringbone came."
    put(root / "name.wav", flite.speak(text, "kal16").pcm, text)
    summary, utterances, _ = prepared(root, places, tmp_path / "out")
    assert "name" in {u.id for u in utterances}
    assert summary["counts"]["unknown words"] == 1


def test_the_same_audio_under_two_ids_is_used_once(root, places, tmp_path):
    shutil.copy(root / "c.wav", root / "z.wav")
    shutil.copy(root / "c.txt", root / "z.txt")
    _, utterances, quarantined = prepared(root, places, tmp_path / "out")
    assert {u.id for u in utterances} == set(TEXTS)
    assert quarantined["z"]["reason"] == "DUPLICATE_AUDIO"
    assert quarantined["z"]["detail"] == "z has the same audio as c"


def test_a_copy_without_text_does_not_push_out_the_clip_that_has_one(root, places, tmp_path):
    shutil.copy(root / "c.wav", root / "0.wav")
    _, utterances, quarantined = prepared(root, places, tmp_path / "out")
    assert {u.id for u in utterances} == set(TEXTS)
    assert quarantined["0"]["reason"] == "TEXT_MISSING"


def test_too_much_bad_for_one_reason_refuses_the_corpus(root, places, tmp_path):
    (root / "b.txt").unlink()
    with pytest.raises(ValueError, match="1 of 6 candidates were left out as TEXT_MISSING"):
        prepared(root, places, tmp_path / "out", max_bad_fraction=0.16)


def test_a_split_that_went_into_quarantine_is_refused(root, places, tmp_path):
    (dev,) = [each for each, split in splits(root).items() if split == "dev"]
    (root / f"{dev}.txt").write_text("...!")
    with pytest.raises(ValueError, match="all of dev went into quarantine"):
        prepared(root, places, tmp_path / "out")


def test_a_shard_that_was_not_prepared_is_missed(root, places, tmp_path):
    corpus = corpus_of(root)
    corpus.survey("directory", tmp_path / "out", {"mine": root})
    corpus.prepare_shard(0, tmp_path / "out", {**places, "mine": root})
    with pytest.raises(ValueError, match="shard 1 has not been prepared"):
        corpus.finish(tmp_path / "out")


def test_ids_in_are_ids_out_and_in_quarantine_shard_by_shard(root, places, tmp_path):
    (root / "b.txt").unlink()
    _, utterances, quarantined = prepared(root, places, tmp_path / "out", num_shards=3)
    assert {u.id for u in utterances} | set(quarantined) == set(TEXTS)
    for shard in range(3):
        counts = json.loads((tmp_path / f"out/counts/shard-{shard:05d}.json").read_text())
        left_out = quarantine_path(tmp_path / "out", shard).read_text().splitlines()
        assert counts["candidates"] == len(read_shard(tmp_path / "out", shard)) + len(left_out)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "only.txt").write_text("A text.")
    with pytest.raises(ValueError, match=r"is an empty corpus: it holds no .wav or .flac"):
        folder_digest(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere is no directory; pass the right one"):
        folder_digest(tmp_path / "nowhere")


def test_another_folder_is_refused_with_the_digest_to_paste(root):
    corpus = corpus_of(root)
    (root / "a.txt").write_text("Another text.")
    with pytest.raises(ValueError, match=f'paste digest="{folder_digest(root)}" into the study'):
        corpus.candidates({"mine": root})


def test_a_place_that_is_not_set_is_named(root):
    with pytest.raises(ValueError, match="pass `--place mine=FOLDER`"):
        corpus_of(root).candidates({"other": root})


def test_the_digest_is_of_paths_sizes_and_contents_and_of_nothing_else(root, tmp_path):
    before = folder_digest(root)
    lines = []
    for path in sorted(root.iterdir()):
        content = path.read_bytes()
        lines.append(json.dumps([path.name, len(content), hashlib.sha256(content).hexdigest()]))
    assert before == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    (root / "notes.md").write_text("not part of it")
    (root / ".hidden.wav").write_text("nor this")
    assert folder_digest(root) == before
    assert folder_digest(shutil.copytree(root, tmp_path / "moved")) == before
    (root / "a.wav").rename(root / "g.wav")
    assert folder_digest(root) != before


def test_duplicate_ids_are_refused_and_the_first_twenty_shown(root, clips):
    for number in range(25):
        put(root / f"x/n{number:02d}.wav", clips["a"])
        put(root / f"x.n{number:02d}.flac", clips["a"])
    message = refusal(root)
    assert "duplicate ids, 25: x.n00, x.n01" in message
    assert "x.n19 and 5 more" in message


def test_wav_and_flac_of_one_name_are_duplicates(root, clips):
    put(root / "a.flac", clips["a"])
    assert "duplicate ids, 1: a;" in refusal(root)


def test_links_out_of_the_folder_or_nowhere_are_refused(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(root / "a.wav", tmp_path / "elsewhere/a.wav")
    (root / "file.wav").symlink_to(tmp_path / "elsewhere/a.wav")
    (root / "speaker").symlink_to(tmp_path / "elsewhere")
    (root / "gone.wav").symlink_to(tmp_path / "gone.wav")
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(
        ValueError, match=r"lead out of it or nowhere, 4: file.wav, gone.wav, loop,"
    ):
        folder_digest(root)


def test_a_link_inside_the_folder_is_a_second_id_of_one_audio(root):
    (root / "z.wav").symlink_to(root / "c.wav")
    (root / "z.txt").symlink_to(root / "c.txt")
    (last,) = [c for c in corpus_of(root).candidates({"mine": root}) if c.id == "z"]
    assert last.duplicate_of == "c"


def test_nested_folders_give_ids_speakers_and_books(tmp_path, clips, places):
    root = tmp_path / "mine"
    for name, text in TEXTS.items():
        put(
            root / f"s{'abc'.index(name) if name in 'abc' else 0}/book/{name}.wav",
            clips[name],
            text,
        )
    _, utterances, _ = prepared(root, places, tmp_path / "out")
    by_id = {u.id: u for u in utterances}
    assert set(by_id) == {"s0.book.a", "s1.book.b", "s2.book.c", *(f"s0.book.{x}" for x in "def")}
    assert (by_id["s1.book.b"].speaker, by_id["s1.book.b"].book) == ("s1", "s1.book")


def test_three_speakers_are_held_out_whole(tmp_path, clips):
    for speaker in range(10):
        for name in "ab":
            put(tmp_path / f"s{speaker}/{name}.wav", clips[name][speaker:], TEXTS[name])
    found = splits(tmp_path, dev_fraction=0.2, test_fraction=0.1)
    by_speaker = {each: {found[f"{each}.a"], found[f"{each}.b"]} for each in {i[:2] for i in found}}
    assert all(len(held) == 1 for held in by_speaker.values())
    assert Counter(found.values()) == {"train": 14, "dev": 4, "test": 2}
    assert found == splits(tmp_path, dev_fraction=0.2, test_fraction=0.1)
    assert any(
        found != splits(tmp_path, dev_fraction=0.2, test_fraction=0.1, seed=seed)
        for seed in range(1, 5)
    )


def test_with_fewer_speakers_clips_are_held_out(root):
    assert Counter(splits(root, dev_fraction=0.3).values()) == {"train": 3, "dev": 2, "test": 1}
    assert "test" not in splits(root, test_fraction=0.0).values()


def test_too_few_clips_to_hold_any_out_are_refused():
    with pytest.raises(ValueError, match="2 utterances or speakers are too few for dev"):
        held_out(["a", "b"], 0, 0.05, 0.05)


def metadata(root, text, encoding="utf-8"):
    for path in root.glob("*.txt"):
        path.unlink()
    (root / "metadata.csv").write_bytes(text.encode(encoding))


HEADER = "file,text,speaker,split\n"
LINES = "".join(
    f'{name}.{"wav" if name < "d" else "flac"},"{text}",ann,{"dev" if name == "f" else "train"}\n'
    for name, text in TEXTS.items()
)


def test_metadata_csv_gives_texts_speakers_and_splits(root, places, tmp_path):
    metadata(root, HEADER + LINES)
    summary, utterances, _ = prepared(root, places, tmp_path / "out")
    assert {u.id: u.transcript for u in utterances} == TEXTS
    assert {u.speaker for u in utterances} == {"ann"}
    assert {u.id for u in utterances if u.split == "dev"} == {"f"}
    assert summary["splits"]["train"]["utterances"] == 5


def test_metadata_csv_may_name_ids(tmp_path, clips):
    for name in TEXTS:
        put(tmp_path / f"x/{name}.wav", clips[name])
    slashes = ("/", ".")
    lines = [f'x{slashes[i % 2]}{n},"{t}"\r\n' for i, (n, t) in enumerate(TEXTS.items())]
    metadata(tmp_path, "\ufeffid, text\r\n" + "".join(lines))
    found = corpus_of(tmp_path).candidates({"mine": tmp_path})
    assert {c.id: c.raw.decode() for c in found} == {f"x.{n}": t for n, t in TEXTS.items()}


def test_metadata_and_audio_must_name_each_other(root, places, tmp_path):
    lines = LINES.replace("a.wav", "nobody.wav").replace("b.wav", "b.mp3")
    metadata(root, HEADER + lines)
    _, utterances, quarantined = prepared(root, places, tmp_path / "out")
    assert {each: q["reason"] for each, q in quarantined.items()} == {
        "nobody": "AUDIO_MISSING",
        "b.mp3": "AUDIO_MISSING",
        "a": "TEXT_MISSING",
        "b": "TEXT_MISSING",
    }
    assert {u.id for u in utterances} == set("cdef")


def test_one_line_of_metadata_in_another_encoding_is_left_out_alone(root, places, tmp_path):
    lines = LINES.replace("She closed", "She cl\u00f6sed")
    metadata(root, HEADER + lines, encoding="latin-1")
    _, utterances, quarantined = prepared(root, places, tmp_path / "out")
    assert quarantined["b"]["reason"] == "TEXT_ENCODING"
    assert {u.id for u in utterances} == set("acdef")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.wav|The garden\n", "its first line must name text and either id or file"),
        ("id,file,text\n", "its first line must name text and either id or file"),
        ("", "its first line must name text"),
        (HEADER + "a.wav,The garden, it was,ann,train\n", "csv:2: more fields than columns"),
        (HEADER + 'a.wav,"The garden\n', "mend the quoting"),
        (HEADER + "../a.wav,The garden,ann,train\n", "'../a.wav' must be a path inside the folder"),
        (HEADER + "/a.wav,The garden,ann,train\n", "'/a.wav' must be a path inside the folder"),
        (HEADER + ",The garden,ann,train\n", "csv:2: file '' must be a path inside"),
        (HEADER + "a.wav,The garden,ann,valid\n", "split is 'valid'; use one of train, dev, test"),
        (HEADER + "a.wav,The garden,ann\n", "split is ''; use one of"),
        (HEADER + LINES + "a.wav,Again,ann,train\n", "duplicate ids, 1: a;"),
        (HEADER + LINES.replace("dev", "train"), "no usable line is in the split 'dev'"),
    ],
)
def test_a_metadata_csv_out_of_shape_is_refused_with_the_place(root, text, message):
    metadata(root, text)
    assert message in refusal(root)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dev_fraction", 0.0),
        ("dev_fraction", 0.96),
        ("test_fraction", -0.1),
        ("num_shards", 0),
        ("max_seconds", 0.0),
        ("max_bad_fraction", 1.1),
    ],
)
def test_impossible_values_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}"):
        dataclasses.replace(FolderCorpus(digest="0" * 64), **{field: value})


def test_the_directory_is_hashed_and_listed_once_whatever_the_shards(root, places, tmp_path):
    corpus, everything = corpus_of(root, num_shards=3), {**places, "mine": root}
    corpus.survey("directory", tmp_path / "out", everything)
    corpus.settle(tmp_path / "out", everything)
    (root / "g.wav").write_bytes(b"came later")
    for shard in range(3):
        corpus.prepare_shard(shard, tmp_path / "out", everything)
    summary = corpus.finish(tmp_path / "out")
    assert (summary["utterances"], summary["candidates"]) == (6, 6)


def test_a_clip_that_changes_while_the_corpus_is_prepared_is_refused(root, places, tmp_path):
    corpus, everything = corpus_of(root, num_shards=1), {**places, "mine": root}
    corpus.survey("directory", tmp_path / "out", everything)
    put(root / "b.wav", np.zeros(16_000, np.int16))
    with pytest.raises(ValueError, match=r"b.wav changed while the corpus was prepared; run again"):
        corpus.prepare_shard(0, tmp_path / "out", everything)


def sentences(root, places, out, **changes):
    """{book: [(index, text)]} of held_out.jsonl."""
    prepared(root, places, out, **changes)
    found = {}
    for line in (out / "held_out.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["book"], []).append((row["index"], row["text"]))
    return found


def test_held_out_sentences_follow_each_other_as_numbered_clips_do(tmp_path, clips, places):
    """Three readers of a book each; the one held out reads clips 8, 9, 10 and 12."""
    root = tmp_path / "mine"
    for i, reader in enumerate(("ann", "bob", "eve")):
        for number, name in zip((8, 9, 10, 12), "abcd", strict=True):
            put(root / f"{reader}/story-{number}.wav", clips[name][i:], TEXTS[name])
    found = sentences(root, places, tmp_path / "out", test_fraction=0.0)
    (book,) = found
    assert book in ("ann", "bob", "eve")
    texts = [TEXTS[name] for name in "abcd"]
    assert found[book] == list(zip((0, 1, 2, 4), texts, strict=True))


def test_a_book_that_is_trained_on_is_not_held_out(root, places, tmp_path):
    assert sentences(root, places, tmp_path / "out") == {}


def test_the_value_is_light_to_import():
    heavy = ["torch", "ray", "transformers", "sklearn", "pandas", "pocketsphinx", "soundfile"]
    code = f"import sys, ray_slm.corpora.folder; print({{*{heavy}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
