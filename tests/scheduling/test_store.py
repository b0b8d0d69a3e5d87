"""The store: nothing exists without its record, and a record proves every byte."""

import dataclasses
import json
import pickle
import re

import pytest

from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store, open_store


@pytest.fixture
def stage():
    return Stage(name="tokens/text", recipe={"a": 1})


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    if request.param == "bucket":
        return open_store(request.getfixturevalue("s3_url"), tmp_path)
    return Store(tmp_path)


def fill(store, stage, part=""):
    folder = store.path(stage[part].address)
    (folder / "train").mkdir(parents=True, exist_ok=True)
    (folder / "train" / "shard.bin").write_bytes(b"abc")
    return folder


def test_files_without_a_record_do_not_exist(store, stage):
    fill(store, stage)
    assert not store.has(stage.address)
    with pytest.raises(ValueError, match="run the study"):
        store.record(stage.address)


def test_a_commit_lists_every_file_with_size_and_digest_and_clears_scratch(store, stage):
    folder = fill(store, stage)
    store.scratch(stage.address).joinpath("journal.jsonl").write_text("x")
    (folder / "half.tmp").write_text("half")
    store.commit(stage, summary={"n": 1}, made={})
    record = store.record(stage.address)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert record["files"] == {"train/shard.bin": {"bytes": 3, "sha256": digest}}
    assert record["summary"] == {"n": 1}
    assert not (folder / "scratch").exists()
    assert store.verify(stage.address) == []


def test_a_part_has_its_own_record_and_is_no_file_of_the_whole(store, stage):
    fill(store, stage, "checkpoint-1")
    store.commit(stage, part="checkpoint-1", summary={}, made={})
    assert store.has(stage["checkpoint-1"].address)
    assert not store.has(stage.address)
    fill(store, stage)
    store.commit(stage, summary={}, made={})
    assert list(store.record(stage.address)["files"]) == ["train/shard.bin"]


@pytest.mark.parametrize("content", [b"abd", b"ab", None])
def test_verify_names_the_damaged_file(store, stage, content):
    fill(store, stage)
    store.commit(stage, summary={}, made={})
    name = spoil(store, stage, "shard.bin", content)
    (problem,) = store.verify(stage.address)
    assert problem.startswith(name)


@pytest.mark.parametrize("content", [b'{"half":', b"[]", b'{"files": 3}', b"\xff"])
def test_a_damaged_record_is_one_clear_error(store, stage, content):
    fill(store, stage)
    store.commit(stage, summary={}, made={})
    name = spoil(store, stage, "record", content)
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is damaged .* run again"):
        store.record(stage.address)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\b", ""])
def test_a_record_that_names_a_file_outside_of_its_folder_is_refused(store, stage, name):
    """Whoever can write records must not be able to have other files read or written."""
    fill(store, stage)
    store.commit(stage, summary={}, made={})
    record = store.record(stage.address)
    record["files"] = {name: record["files"]["train/shard.bin"]}
    spoil(store, stage, "record", json.dumps(record).encode())
    reader = dataclasses.replace(store, root=store.root / "elsewhere") if store.bucket else store
    with pytest.raises(ValueError, match="not inside its folder"):
        reader.path(stage.address) if store.bucket else reader.verify(stage.address)


def test_a_worker_does_not_inherit_what_its_driver_has_seen(store, stage):
    fill(store, stage)
    store.commit(stage, summary={}, made={})
    assert store.has(stage.address)
    sent = pickle.loads(pickle.dumps(store))
    assert sent == store
    assert not sent._known


def spoil(store, stage, part, content):
    """Put other content in the place that counts; its name as messages give it."""
    if store.bucket is None:
        (path,) = [p for p in (store.root / stage.address).rglob("*") if part in p.name]
        path.unlink() if content is None else path.write_bytes(content)
        return str(path)
    (key,) = [
        entry.key
        for entry in store.bucket.entries("records/" if part == "record" else "data/")
        if part == "record" or part in entry.key
    ]
    store.bucket.delete(key) if content is None else store.bucket.put(key, content)
    return f"{store.bucket.url}/{key}"


def test_versions_come_newest_first(store):
    for value in (1, 2):
        stage = Stage(name="train/x", recipe={"value": value})
        fill(store, stage)
        store.commit(stage, summary={}, made={})
        record = {**store.record(stage.address), "written_at": float(value)}
        if store.bucket:
            store.bucket.put(f"records/{stage.address}.json", json.dumps(record).encode())
        else:
            (store.path(stage.address) / "record.json").write_text(json.dumps(record))
    found = [record["identity"]["recipe"]["value"] for record in store.versions("train/x")]
    assert found == [2, 1]
