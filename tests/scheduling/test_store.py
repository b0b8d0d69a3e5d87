"""The store: nothing exists without its record, and a record proves every byte."""

import json

import pytest

from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store


@pytest.fixture
def stage():
    return Stage(name="tokens/text", recipe={"a": 1})


@pytest.fixture
def store(tmp_path):
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


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_verify_names_the_damaged_file(store, stage, damage):
    path = fill(store, stage) / "train" / "shard.bin"
    store.commit(stage, summary={}, made={})
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(b"abd" if damage == "flip" else b"ab")
    (problem,) = store.verify(stage.address)
    assert str(path) in problem


def test_a_damaged_record_is_one_clear_error(store, stage):
    folder = fill(store, stage)
    (folder / "record.json").write_text('{"half":')
    with pytest.raises(ValueError, match=r"record.json is damaged .* run again"):
        store.record(stage.address)


def test_versions_come_newest_first(store):
    for value in (1, 2):
        stage = Stage(name="train/x", recipe={"value": value})
        fill(store, stage)
        store.commit(stage, summary={}, made={})
        path = store.path(stage.address) / "record.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "written_at": float(value)}))
    found = [record["identity"]["recipe"]["value"] for record in store.versions("train/x")]
    assert found == [2, 1]
