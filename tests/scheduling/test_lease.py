"""One driver per root: refused while the holder lives, taken over when it is gone, then fenced."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ray_slm.errors import FencedError, ResourceError
from ray_slm.scheduling import lease
from ray_slm.scheduling.holder import myself
from ray_slm.scheduling.objects import parse
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import open_store

STAGE = Stage(name="tokens/text", recipe={"a": 1})


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    root = tmp_path / "root"
    if request.param == "bucket":
        root = request.getfixturevalue("s3_url")
    return open_store(root, tmp_path / "cache")


@pytest.fixture
def entries(store):
    return store.lease_entries


def of_another_host(**changes):
    elsewhere = dataclasses.replace(myself(), host="node-7", machine="another boot")
    return dataclasses.replace(elsewhere, **changes)


def put(entries, holder, number=1):
    assert entries.create(f"{number:08d}.json", holder.content())


def test_a_second_driver_is_refused_and_told_who_holds_the_root(entries):
    with (
        lease.held(entries, "here"),
        pytest.raises(ResourceError, match=f"works in here: process {os.getpid()} on .* since 20"),
        lease.held(entries, "here"),
    ):
        pass


def test_the_lease_is_free_again_at_once_after_a_proper_end(entries):
    numbers = []
    for _ in range(3):
        with lease.held(entries, "here") as held:
            numbers.append(held.number)
    assert numbers == [1, 2, 3]


def test_a_holder_elsewhere_is_believed_until_its_time_is_over(entries):
    put(entries, of_another_host())
    with pytest.raises(ResourceError, match="node-7"), lease.held(entries, "here"):
        pass
    time.sleep(2.1)  # the age of an object has whole seconds
    with lease.held(entries, "here", ttl_seconds=1.0) as held:
        assert held.number == 2


def test_a_holder_that_renews_is_not_taken_over(entries):
    with lease.held(entries, "here", ttl_seconds=1.2):
        time.sleep(2.5)
        with pytest.raises(ResourceError), lease.held(entries, "here", ttl_seconds=1.2):
            pass


HOLD = """
import sys, time
from ray_slm.scheduling import lease
from ray_slm.scheduling.store import open_store
with lease.held(open_store(sys.argv[1], sys.argv[2]).lease_entries, "here"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_of_this_machine_is_taken_over_at_once(store, entries, tmp_path):
    command = [sys.executable, "-c", HOLD, store.location, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ResourceError, match=f"process {holder.pid}"):
            lease.held(entries, "here").__enter__()
        holder.send_signal(signal.SIGKILL)
        _wait_until_zombie(holder.pid)
        with lease.held(entries, "here") as held:  # nobody has waited for the dead yet
            assert held.number == 2


def _wait_until_zombie(pid):
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT):
        time.sleep(0.01)


def test_a_process_that_only_has_the_pid_of_the_holder_is_not_the_holder(entries):
    put(entries, dataclasses.replace(myself(), started="1"))
    with lease.held(entries, "here") as held:
        assert held.number == 2


def test_of_many_drivers_at_once_one_gets_the_lease(entries):
    taken, refused = [], []
    barrier = threading.Barrier(8)

    def drive():
        barrier.wait()
        held = lease.held(entries, "here")
        try:
            held.__enter__()
            taken.append(held)  # one that nobody refers to would release its lease
        except ResourceError as error:
            refused.append(error)

    threads = [threading.Thread(target=drive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    taken[0].__exit__(None, None, None)


def test_a_fenced_driver_finds_out_and_its_workers_cannot_publish(store, entries):
    with lease.held(entries, "here", ttl_seconds=0.6) as old:
        worker = dataclasses.replace(store, fence=old.number)
        worker.path(STAGE.address).mkdir(parents=True)
        (worker.path(STAGE.address) / "shard.bin").write_bytes(b"zombie")
        put(entries, of_another_host(), number=old.number + 1)
        with pytest.raises(FencedError, match=r"taken over by process .* on node-7"):
            worker.commit(STAGE, summary={}, made={})
        assert not store.has(STAGE.address)
        time.sleep(0.5)  # five beats
        with pytest.raises(FencedError):
            old.check()
    newest = lease.current(entries)
    assert newest.number == 2
    assert newest.holder.host == "node-7"
    assert not newest.holder.released


def test_a_lease_that_was_created_but_not_written_yet_is_somebodys(entries):
    assert entries.create("00000001.json", b"")
    with pytest.raises(ResourceError, match="just starting"), lease.held(entries, "here"):
        pass


def test_a_storage_that_stays_silent_does_not_end_a_driver(proxy, s3_url, monkeypatch):
    from ray_slm.scheduling import objects
    from tests.bucket import DROP, PASS

    monkeypatch.setattr(objects, "DEADLINE_SECONDS", 0.1)
    entries = lease.BucketEntries(parse(s3_url))
    with lease.held(entries, "here", ttl_seconds=0.6) as held:
        proxy.mood = lambda _method, _path: DROP
        time.sleep(1.0)
        held.check()
        proxy.mood = lambda _method, _path: PASS
    assert lease.current(entries).holder.released
