"""A root in a bucket, seen from several nodes: each has a cache, and the record decides."""

import dataclasses
import itertools
import json

import pytest

from ray_slm.errors import StorageError
from ray_slm.scheduling.stage import Stage
from tests.bucket import CUT, DROP, MUTE, PASS, THROTTLE

STAGE = Stage(name="tokens/text", recipe={"a": 1})
RUN = Stage(name="train/text/seed-0", recipe={"b": 1})


def write(store, stage, name, content, part=""):
    path = store.path(stage[part].address) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read_all(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != "record.json"
    }


def keys(store):
    return [entry.key for entry in store.bucket.entries("")]


def test_another_node_reads_the_same_bytes(node):
    one, two = node("one"), node("two")
    write(one, STAGE, "train/shard-00000.bin", b"abc")
    write(one, STAGE, "empty", b"")
    one.commit(STAGE, summary={"n": 1}, made={})
    assert two.has(STAGE.address)
    assert read_all(two.path(STAGE.address)) == {"train/shard-00000.bin": b"abc", "empty": b""}
    assert two.record(STAGE.address) == one.record(STAGE.address)
    assert two.verify(STAGE.address) == []


@pytest.mark.parametrize("trouble", [THROTTLE, DROP, CUT, MUTE])
def test_a_bad_network_changes_no_byte(node, proxy, trouble):
    turns = itertools.count()
    proxy.mood = lambda _method, _path: trouble if next(turns) % 3 == 0 else PASS
    one, two = node("one"), node("two")
    for number in range(3):
        write(one, STAGE, f"shard-{number}.bin", bytes([number]) * 5000)
    one.commit(STAGE, summary={}, made={})
    assert read_all(two.path(STAGE.address)) == read_all(one.path(STAGE.address))
    assert two.verify(STAGE.address) == []
    assert proxy.did[trouble] >= 3


def test_a_writer_that_dies_before_the_record_leaves_no_result(node, proxy, monkeypatch):
    from ray_slm.scheduling import objects

    monkeypatch.setattr(objects, "DEADLINE_SECONDS", 0.2)
    one = node("one")
    write(one, STAGE, "shard.bin", b"abc")
    proxy.mood = lambda method, path: DROP if method == "PUT" and "records" in path else PASS
    with pytest.raises(StorageError, match="attempts"):
        one.commit(STAGE, summary={}, made={})
    proxy.mood = lambda _method, _path: PASS
    two = node("two")
    assert not two.has(STAGE.address)
    assert two.present([STAGE.address]) == set()
    assert read_all(two.root) == {}
    write(two, STAGE, "shard.bin", b"abc")
    two.commit(STAGE, summary={}, made={})
    assert one.has(STAGE.address)


@pytest.mark.parametrize("content", [b"abd", b"ab", None])
def test_damaged_bytes_are_never_handed_over(node, content):
    one, two = node("one"), node("two")
    write(one, STAGE, "shard.bin", b"abc")
    one.commit(STAGE, summary={}, made={})
    (key,) = [key for key in keys(one) if "shard" in key]
    one.bucket.delete(key) if content is None else one.bucket.put(key, content)
    with pytest.raises(StorageError, match=r"shard\.bin"):
        two.path(STAGE.address)
    assert read_all(two.root) == {}


def test_of_two_equal_writers_the_first_stands_with_its_own_wall_clock_figures(node):
    one, two = node("one"), node("two")
    for store, seconds in ((one, b"1 s"), (two, b"2 s")):
        write(store, STAGE, "losses.jsonl", b"3.14")
        write(store, STAGE, "timing.json", seconds)
        store.commit(STAGE, summary={}, made={"by": seconds.decode()})
    assert two.record(STAGE.address)["made"] == {"by": "1 s"}
    assert (two.path(STAGE.address) / "timing.json").read_bytes() == b"1 s"
    assert two.verify(STAGE.address) == []
    assert len([key for key in keys(one) if "timing" in key]) == 1


def test_of_two_writers_that_disagree_the_second_is_told(node):
    one, two = node("one"), node("two")
    for store, content in ((one, b"3.14"), (two, b"2.72")):
        write(store, STAGE, "losses.jsonl", content)
    one.commit(STAGE, summary={}, made={})
    two._here.add(STAGE.address)  # it began before the first had ended
    with pytest.raises(StorageError, match="other content by another writer"):
        two.commit(STAGE, summary={}, made={})
    assert node("three").verify(STAGE.address) == []


def test_a_cache_that_outlived_its_bucket_is_not_believed(node):
    one = node("one")
    write(one, STAGE, "shard.bin", b"abc")
    one.commit(STAGE, summary={}, made={})
    for key in keys(one):
        one.bucket.delete(key)
    again = node("one")
    assert (again.root / STAGE.address / "record.json").exists()
    assert not again.has(STAGE.address)
    with pytest.raises(ValueError, match="run the study"):
        again.record(STAGE.address)


def test_a_cache_of_an_earlier_result_is_brought_up_to_date(node):
    one, two = node("one"), node("two")
    write(one, STAGE, "old.bin", b"abc")
    write(one, STAGE, "shard.bin", b"abc")
    one.commit(STAGE, summary={}, made={})
    two.path(STAGE.address)
    for key in keys(one):
        one.bucket.delete(key)
    three = node("three")
    write(three, STAGE, "shard.bin", b"abd")
    three.commit(STAGE, summary={}, made={})
    assert read_all(node("two").path(STAGE.address)) == {"shard.bin": b"abd"}


def test_a_node_brings_only_the_files_it_works_on(node):
    one, two = node("one"), node("two")
    for number in range(3):
        write(one, STAGE, f"audio/shard-{number:05d}.flac", bytes([number]))
    one.commit(STAGE, summary={}, made={})
    found = read_all(two.path(STAGE.address, only="shard-00001"))
    assert found == {"audio/shard-00001.flac": b"\1"}
    assert len(read_all(two.path(STAGE.address))) == 3


def test_shards_of_several_nodes_come_together_and_leave_no_working_state(node):
    stores = [node(str(number)) for number in range(3)]
    for number, store in enumerate(stores):
        write(store, STAGE, f"train/shard-{number:05d}.bin", bytes([number]))
        write(store, STAGE, f"scratch/shard-{number:05d}.whole", b"")
        write(store, STAGE, "scratch/half.tmp", b"half")
        store.share(STAGE.address, f"shard-{number:05d}")
    last = node("last")
    found = read_all(last.gather(STAGE.address))
    assert len(found) == 6
    assert last.gather(STAGE.address, "scratch/") == last.path(STAGE.address)
    last.commit(STAGE, summary={}, made={})
    assert list(last.record(STAGE.address)["files"]) == [
        f"train/shard-{number:05d}.bin" for number in range(3)
    ]
    assert not [key for key in keys(last) if "scratch" in key]


def test_a_run_moves_to_another_node_with_its_newest_checkpoint_and_journal(node):
    one, two = node("one"), node("two")
    journal = write(one, RUN, "scratch/journal-0001.jsonl", b"1\n")
    for step in (1, 2, 3):
        write(one, RUN, f"scratch/resume/step-{step}/model.safetensors", bytes([step]))
        if step > 2:
            for path in (one.path(RUN.address) / "scratch/resume/step-1").iterdir():
                path.unlink()
        journal.write_bytes(b"1\n" * step)
        one.share(RUN.address, "scratch/resume/", "scratch/journal-", exact=True)
    journal.write_bytes(b"1\n" * 9)  # lost with the node
    assert read_all(two.gather(RUN.address, "scratch/")) == {
        "scratch/journal-0001.jsonl": b"1\n" * 3,
        "scratch/resume/step-2/model.safetensors": b"\2",
        "scratch/resume/step-3/model.safetensors": b"\3",
    }
    one.gather(RUN.address, "scratch/")
    assert journal.read_bytes() == b"1\n" * 9, "what is here and longer stays"


def test_checkpoints_are_results_of_their_own(node):
    one, two = node("one"), node("two")
    write(one, RUN, "model.safetensors", b"weights", part="checkpoint-5")
    write(one, RUN, "scratch/journal-0001.jsonl", b"1\n")
    one.commit(RUN, part="checkpoint-5", summary={}, made={})
    one.share(RUN.address, "scratch/")
    parts = [RUN["checkpoint-5"].address, RUN["checkpoint-9"].address]
    assert two.present([*parts, RUN.address]) == {parts[0]}
    assert read_all(two.path(parts[0])) == {"model.safetensors": b"weights"}
    write(one, RUN, "losses.jsonl", b"1")
    one.commit(RUN, summary={}, made={})
    assert list(one.record(RUN.address)["files"]) == ["losses.jsonl"]
    assert read_all(two.path(RUN.address)) == {
        "losses.jsonl": b"1",
        "checkpoint-5/model.safetensors": b"weights",
    }
    assert [r["part"] for r in two.versions(RUN.name)] == [""]
    assert two.verify(parts[0]) == []


def test_all_parts_of_a_stage_cost_one_question(node, proxy):
    store = node("one")
    parts = [RUN[f"checkpoint-{number}"].address for number in range(50)]
    assert store.present(parts) == set()
    assert sum(proxy.did.values()) == 1
    write(store, RUN, "x", b"", part="checkpoint-7")
    store.commit(RUN, part="checkpoint-7", summary={}, made={})
    proxy.did.clear()
    assert store.present(parts) == {parts[7]}
    assert store.present([parts[7]]) == {parts[7]}
    assert store.has(parts[7])
    assert sum(proxy.did.values()) == 1


def test_a_fence_holds_until_the_very_record(node):
    from ray_slm.errors import FencedError

    store = dataclasses.replace(node("one"), fence=1)
    write(store, STAGE, "shard.bin", b"abc")
    assert store.lease_entries.create("00000002.json", b"{}")
    with pytest.raises(FencedError):
        store.commit(STAGE, summary={}, made={})
    assert not [key for key in keys(store) if key.startswith("records/")]
    assert json.loads(store.bucket.get(".lease/00000002.json")) == {}


def test_what_ray_left_goes_at_the_end_unless_another_driver_works_there(node):
    from ray_slm.errors import FencedError

    store = dataclasses.replace(node("one"), fence=1)
    for name in ("evaluations-1/state", "abc/run/checkpoint"):
        store.bucket.put(f".ray/{name}", b"x")
    store.remove_foreign("abc")
    assert [entry.key for entry in store.bucket.entries(".ray/")] == [".ray/evaluations-1/state"]
    store.lease_entries.create("00000002.json", b"{}")
    with pytest.raises(FencedError):
        store.remove_foreign()
    dataclasses.replace(store, fence=2).remove_foreign()
    assert not store.bucket.entries(".ray/")


def test_the_doctor_tells_a_bucket_that_honors_conditions(node):
    from ray_slm.doctor import examine

    (storage,) = [f for f in examine(node("one"), {}) if f.what == "storage"]
    assert storage.ok, storage.detail
    assert not keys(node("one"))
