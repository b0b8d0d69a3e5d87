"""A Libriheavy corpus as a whole: what goes in comes out or is accounted for, whatever is wrong."""

import dataclasses
import gzip
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ray_slm.corpora.alignment import labels_at_50_hz
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.corpus import Corpus, prepare_all
from ray_slm.corpora.inventory import read_inventory
from ray_slm.corpora.libriheavy import LibriheavyCorpus
from ray_slm.corpora.libriheavy_shape import shaped_corpus
from ray_slm.corpora.libriheavy_sources import manifest_name, pinned
from ray_slm.corpora.utterance import read_utterances
from ray_slm.scheduling.identity import fingerprint
from ray_slm.scheduling.store import result_files


@pytest.fixture
def mine(shape, tmp_path):
    """(corpus, places) of a copy that a test may damage; alignments are `lengths`."""
    corpus, at = shaped_corpus(shape, "raw", "lengths")
    copies = {name: tmp_path / name for name in at}
    for name, path in at.items():
        shutil.copytree(path, copies[name])
    return dataclasses.replace(corpus, max_bad_fraction=1.0), copies


def outcome(corpus, at, out):
    """(summary, utterances by id, quarantine by id), prepared anew with whatever lies there."""
    summary = prepare_all(pinned(corpus, at), out, at)
    lines = map(json.loads, (out / "quarantine.jsonl").read_text().splitlines())
    return summary, {u.id: u for u in read_utterances(out)}, {q["id"]: q for q in lines}


def rewrite(path, change):
    """Pass the lines of a .gz file through a function."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("".join(f"{x}\n" for x in change(lines)).encode()))


def manifest(at, subset="small"):
    return at["libriheavy"] / manifest_name(subset)


def test_it_is_a_corpus_with_an_address_and_hours_for_plans():
    corpus: Corpus = LibriheavyCorpus()
    assert corpus.num_shards == 2048
    assert corpus.audio_hours == pytest.approx(50_794 + 22.3)
    fingerprint(LibriheavyCorpus())


def test_it_is_planned_without_heavy_imports():
    heavy = ["torch", "ray", "transformers", "sklearn", "pandas", "pocketsphinx", "lhotse"]
    code = f"import sys, ray_slm.corpora.libriheavy; print({{*{heavy}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"train": ()}, "some, each once"),
        ({"dev": ("small",)}, "some, each once"),
        ({"transcript": "text"}, "transcript='text'"),
        ({"normalizer": "lower"}, "normalizer='lower'"),
        ({"num_shards": 0}, "num_shards=0"),
        ({"max_seconds": 0.0}, "max_seconds=0.0"),
        ({"max_bad_fraction": 1.1}, "max_bad_fraction=1.1"),
    ],
)
def test_impossible_corpora_are_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        LibriheavyCorpus(**changes)


def test_other_files_are_refused_with_all_digests_to_paste(mine, tmp_path):
    corpus, at = mine
    source = dataclasses.replace(corpus.alignment, digest="")
    unpinned = dataclasses.replace(corpus, manifests_digest="", alignment=source)
    with pytest.raises(ValueError, match="replace in the study") as caught:
        prepare_all(unpinned, tmp_path / "out", at)
    assert set(re.findall("[0-9a-f]{64}", str(caught.value))) == {
        corpus.manifests_digest,
        corpus.alignment.digest,
    }
    rewrite(manifest(at), lambda lines: lines[:-1])
    with pytest.raises(ValueError, match=f"manifests_digest='{corpus.manifests_digest}'"):
        prepare_all(corpus, tmp_path / "other", at)


def test_places_and_manifests_that_are_not_there_are_named(mine):
    corpus, at = mine
    for name in at:
        with pytest.raises(ValueError, match=f"pass `--place {name}=FOLDER`"):
            corpus.sources({key: path for key, path in at.items() if key != name})
    manifest(at, "dev").unlink()
    with pytest.raises(ValueError, match=r"has no libriheavy_cuts_dev.jsonl.gz; fetch them"):
        corpus.sources(at)


def test_the_same_bytes_come_out_in_any_order_and_after_a_broken_start(mine, tmp_path):
    corpus, at = mine
    digests = []
    for name, backwards in (("one", False), ("two", True)):
        out = tmp_path / name
        sources, shards = list(corpus.sources(at)), list(range(corpus.num_shards))
        if backwards:
            sources.reverse()
            shards.reverse()
            corpus.survey(sources[0], out, at)
            shutil.copytree(next((out / "scratch/survey").glob("*[!n]")), out / "scratch/x.tmp")
        for source in sources:
            corpus.survey(source, out, at)
        corpus.settle(out, at)
        for shard in (*shards, shards[0]):
            corpus.prepare_shard(shard, out, at)
        corpus.finish(out)
        digests.append({p.relative_to(out): p.read_bytes() for p in result_files(out)})
    assert digests[0] == digests[1]
    assert len(digests[0]) == 4 * 3 + 3  # table, counts, quarantine of each; sums, held-out


def test_a_survey_that_fails_leaves_nothing_that_looks_whole(mine, tmp_path):
    corpus, at = mine
    manifest(at).write_bytes(manifest(at).read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"libriheavy_cuts_small.jsonl.gz is damaged"):
        corpus.survey("manifest:small", tmp_path / "out", at)
    assert list((tmp_path / "out/scratch/survey").iterdir()) == []


def test_audio_is_that_of_the_cut(shape, tmp_path):
    corpus, at = shaped_corpus(shape)
    prepare_all(corpus, tmp_path, at)
    import soundfile

    for utterance in read_utterances(tmp_path):
        whole, _ = soundfile.read(at["librilight"] / utterance.audio.partition(":")[2])
        part = whole[utterance.start :][: utterance.num_samples]
        assert np.array_equal(read_audio(tmp_path, utterance, at), part.astype(np.float32))
    with pytest.raises(ValueError, match="pass `--place librilight=FOLDER`"):
        read_audio(tmp_path, utterance)


def recordings(at):
    return sorted(at["librilight"].rglob("*.flac"))


def of_recording(utterances, path, at):
    audio = "librilight:" + path.relative_to(at["librilight"]).as_posix()
    return sorted((u for u in utterances.values() if u.audio == audio), key=lambda u: u.start)


def test_a_flipped_bit_costs_the_cut_it_lies_in_and_no_other(mine, tmp_path):
    corpus, at = mine
    _, before, _ = outcome(corpus, at, tmp_path / "before")
    path = max(recordings(at), key=lambda path: len(of_recording(before, path, at)))
    cuts = of_recording(before, path, at)
    victim, total = cuts[1], cuts[-1].start + cuts[-1].num_samples
    raw = bytearray(path.read_bytes())
    raw[int(len(raw) * (victim.start + victim.num_samples / 2) / total)] ^= 4
    path.write_bytes(raw)
    summary, after, quarantined = outcome(corpus, at, tmp_path / "after")
    assert [(q["id"], q["reason"]) for q in quarantined.values()] == [
        (victim.id, "AUDIO_UNREADABLE")
    ]
    assert after.keys() == before.keys() - {victim.id}
    assert summary["candidates"] == len(before)
    assert re.search(r"\.flac \(line \d+ of libriheavy_cuts_", quarantined[victim.id]["path"])


def test_missing_short_silent_and_foreign_recordings_are_left_out(mine, tmp_path):
    import soundfile

    corpus, at = mine
    _, before, _ = outcome(corpus, at, tmp_path / "before")
    gone, cut, silent, stereo, *_ = recordings(at)
    sound, _ = soundfile.read(silent, dtype="int16")
    last = of_recording(before, cut, at)[-1]
    gone.unlink()
    soundfile.write(cut, soundfile.read(cut, dtype="int16")[0][: last.start + 1600], 16_000)
    soundfile.write(silent, np.zeros_like(sound), 16_000)
    soundfile.write(stereo, np.stack([sound, sound], axis=1), 16_000)
    _, after, quarantined = outcome(corpus, at, tmp_path / "after")
    reasons = {u.id: "AUDIO_MISSING" for u in of_recording(before, gone, at)}
    reasons |= {last.id: "AUDIO_UNREADABLE"}
    reasons |= {u.id: "AUDIO_SILENT" for u in of_recording(before, silent, at)}
    reasons |= {u.id: "AUDIO_RATE" for u in of_recording(before, stereo, at)}
    assert {each: q["reason"] for each, q in quarantined.items()} == reasons
    assert after.keys() == before.keys() - reasons.keys()


def test_links_out_of_the_audios_root_are_refused(mine, tmp_path):
    corpus, at = mine
    path = recordings(at)[0]
    path.rename(tmp_path / "elsewhere.flac")
    path.symlink_to(tmp_path / "elsewhere.flac")
    with pytest.raises(ValueError, match=r"leads out of .* or copy them"):
        prepare_all(corpus, tmp_path / "out", at)


def test_an_id_that_stands_twice_is_refused_with_both_lines(mine, tmp_path):
    corpus, at = mine
    rewrite(manifest(at), lambda lines: [*lines, lines[0]])
    with pytest.raises(ValueError, match=r"1 ids stand twice: \S+ in libriheavy_cuts_small\S+:1 "):
        prepare_all(pinned(corpus, at), tmp_path / "out", at)


def test_a_recording_that_is_trained_on_and_held_out_is_refused(mine, tmp_path):
    corpus, at = mine
    lines = gzip.decompress(manifest(at).read_bytes()).decode().splitlines()
    recordings = [json.loads(line)["recording"]["id"] for line in lines]
    moved = next(i for i, each in enumerate(recordings) if recordings.count(each) > 1)
    rewrite(manifest(at), lambda lines: [*lines[:moved], *lines[moved + 1 :]])
    rewrite(manifest(at, "dev"), lambda of_dev: [*of_dev, lines[moved]])
    with pytest.raises(ValueError, match=r"1 recordings are trained on and held out at once"):
        outcome(corpus, at, tmp_path / "out")


def with_lengths(at, utterance_id, change):
    """Change an utterance's line of `<id> n ; <id> n`."""

    def changed(lines):
        for line in lines:
            key, _, rest = line.partition(" ")
            pairs = [pair.split() for pair in rest.split(" ; ")]
            if key == utterance_id:
                pairs = change(pairs)
            yield f"{key} " + " ; ".join(" ".join(map(str, pair)) for pair in pairs)

    for path in at["alignments"].glob("ali-phones*"):
        rewrite(path, changed)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [(50, "ALIGN_OVERRUN"), (5, "ALIGN_OVERRUN"), (3, ""), (1, ""), (-2, ""), (-4, "ALIGN_SHORT")],
)
def test_another_length_than_the_audios_is_tolerated_to_a_bound(frames, reason, mine, tmp_path):
    corpus, at = mine
    _, before, _ = outcome(corpus, at, tmp_path / "before")
    victim = next(u for u in before.values() if u.ends[-1] - u.ends[-2] > 1600)
    excess = 160 * frames + victim.ends[-1] - victim.num_samples
    assert (-400 - 320 <= excess <= 320) == (not reason)

    def longer(pairs):
        return [*pairs[:-1], (pairs[-1][0], int(pairs[-1][1]) + frames)]

    with_lengths(at, victim.id, longer)
    summary, after, quarantined = outcome(corpus, at, tmp_path / "after")
    assert {q["id"]: q["reason"] for q in quarantined.values()} == (
        {victim.id: reason} if reason else {}
    )
    if not reason:
        assert after[victim.id].ends[-1] <= victim.num_samples
        if frames < 0:
            assert summary["counts"]["alignments 25 to 45 ms shorter than the audio"] == 1
    else:
        assert "the alignment is of" in quarantined[victim.id]["detail"]


def test_an_unknown_phone_costs_its_utterance_and_is_named(mine, tmp_path):
    corpus, at = mine
    table = at["alignments"] / "phones.txt"
    table.write_text(table.read_text().replace("\nZH_", "\nZZ_"))
    _, after, quarantined = outcome(corpus, at, tmp_path / "out")
    assert {q["reason"] for q in quarantined.values()} <= {"ALIGN_UNKNOWN_PHONE"}
    assert not any("ZH" in u.phones for u in after.values())
    assert all("lexicon mismatch: 'ZZ_" in q["detail"] for q in quarantined.values())


def test_the_inventory_is_a_file_that_can_be_replaced(mine, tmp_path):
    corpus, at = mine
    table = at["alignments"] / "phones.txt"
    table.write_text(table.read_text().replace("\nAH0_", "\nuh_").replace("\nT_", "\nt_"))
    own = tmp_path / "own.txt"
    lines = [p for p in corpus.inventory.phones if p not in ("AH0", "T", "SIL")]
    own.write_text("\n".join(["# mine", "uh", "TT t", *lines, 'SIL "" pau']))
    replaced = dataclasses.replace(corpus, inventory=read_inventory(own))
    _, after, quarantined = outcome(replaced, at, tmp_path / "out")
    assert quarantined == {}
    phones = {p for u in after.values() for p in u.phones}
    assert {"uh", "TT", "SIL"} <= phones
    assert not {"AH0", "T", "t"} & phones
    assert fingerprint(replaced) != fingerprint(corpus)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("AA1\nT\n", "has no SIL"),
        ("SIL sil\nT\nT\n", r"\['T'\] twice"),
        ("SIL sil\nT sil\n", r"\['sil'\] twice"),
        ("", "has no SIL"),
    ],
)
def test_an_inventory_out_of_shape_is_refused_with_the_file(text, complaint, tmp_path):
    (tmp_path / "own.txt").write_text(text)
    with pytest.raises(ValueError, match=f"own.txt: .*{complaint}"):
        read_inventory(tmp_path / "own.txt")


def test_what_the_alignments_lack_is_left_out_or_aligned_anew(mine, places, tmp_path):
    corpus, at = mine
    at = {**at, **places}
    rewrite(at["alignments"] / "ali-phones.1.gz", lambda lines: [*lines[2:], "nobody 1 3"])
    summary, _, quarantined = outcome(corpus, at, tmp_path / "one")
    assert [q["reason"] for q in quarantined.values()] == ["ALIGN_MISSING"] * 2
    assert summary["counts"]["alignments of no cut"] == 1
    other = dataclasses.replace(corpus, fall_back=ForcedAlignment())
    summary, after, left_out = outcome(other, at, tmp_path / "two")
    assert left_out == {}
    assert summary["aligned_by"] == ["Kaldi", "pocketsphinx 5.1.1 forced alignment"]
    assert all(after[each].aligned_by.startswith("pocketsphinx") for each in quarantined)


def test_without_any_alignment_pocketsphinx_finds_the_phones(shape, places, tmp_path):
    corpus, at = shaped_corpus(shape)
    forced = dataclasses.replace(corpus, alignment=ForcedAlignment(), max_bad_fraction=0.1)
    summary = prepare_all(pinned(forced, at), tmp_path, {**at, **places})
    assert summary["aligned_by"] == ["pocketsphinx 5.1.1 forced alignment"]
    found = {u.id: u for u in read_utterances(tmp_path)}
    same = []
    for true in shape.truth:
        u = found[true.id]
        pairs = (
            labels_at_50_hz(each.phones, [*(e - 160 for e in each.ends[:-1]), n], n)
            for each, n in ((true, true.num_samples), (u, u.num_samples))
        )
        same += [a[:2] == b[:2] for a, b in zip(*pairs, strict=True)]
    assert np.mean(same) > 0.7


def test_numerals_are_aligned_as_they_were_recognized(mine, places, tmp_path):
    corpus, at = mine

    def with_numeral(lines):
        for number, text in enumerate(lines):
            line = json.loads(text)
            if number < 2:
                book, heard = line["supervisions"][0]["custom"]["texts"]
                line["supervisions"][0]["custom"]["texts"] = [f"12 {book}", heard][: 2 - number]
            yield json.dumps(line)

    rewrite(manifest(at), with_numeral)
    lines = gzip.decompress(manifest(at).read_bytes()).decode().splitlines()
    first, second = (json.loads(line)["id"] for line in lines[:2])
    forced = dataclasses.replace(corpus, alignment=ForcedAlignment())
    summary, after, quarantined = outcome(forced, {**at, **places}, tmp_path / "out")
    assert after[first].transcript.startswith("12 ")
    assert quarantined[second]["reason"] == "TEXT_DIGITS"
    assert summary["counts"]["numerals aligned as they were recognized"] == 1


def test_held_out_sentences_are_of_books_nobody_trains_on(shape, tmp_path):
    corpus, at = shaped_corpus(shape)
    prepare_all(corpus, tmp_path, at)
    rows = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    trained = {u.book for u in shape.truth if u.split == "train"}
    assert {row["book"] for row in rows} == {u.book for u in shape.truth} - trained
    texts = " ".join(u.transcript for u in shape.truth if u.split == "dev")
    assert rows
    assert all(row["text"] in texts for row in rows)


# VmHWM and not getrusage, which tells the peak of the process that started this one, too.
MEMORY = r"""
import re, sys
from pathlib import Path
from ray_slm.corpora.libriheavy import LibriheavyCorpus
corpus = LibriheavyCorpus(train=("large",), num_shards=64)
corpus.survey("manifest:large", Path(sys.argv[1]) / "out", {"libriheavy": Path(sys.argv[1])})
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_memory_does_not_grow_with_the_number_of_cuts(mine, tmp_path):
    _, at = mine
    line = json.loads(gzip.decompress(manifest(at).read_bytes()).splitlines()[0])
    peaks = {}
    for count in (1_000, 50_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        with gzip.open(folder / manifest_name("large"), "wt", 1) as file:
            for number in range(count):
                file.write(json.dumps({**line, "id": f"{line['id']}_{number}"}) + "\n")
        command = [sys.executable, "-c", MEMORY, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[count] = int(done.stdout) / 1024
    assert peaks[50_000] - peaks[1_000] < 24, peaks  # MB: a run of records, and its index
