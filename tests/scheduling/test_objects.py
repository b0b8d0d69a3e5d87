"""A bucket behind a bad network: what was asked for happens once, or an error says what did not."""

import itertools
import os

import pytest

from ray_slm.errors import StorageError
from ray_slm.scheduling import objects
from tests.bucket import CUT, DROP, MUTE, PASS, THROTTLE


def each_third(what):
    """Two requests get the treatment, every third passes."""
    turns = itertools.count()
    return lambda _method, _path: PASS if next(turns) % 3 == 2 else what


@pytest.mark.parametrize("trouble", [THROTTLE, DROP, CUT])
def test_whatever_passes_is_survived(proxy, s3_url, tmp_path, trouble):
    bucket = objects.parse(s3_url)
    proxy.mood = each_third(trouble)
    content = os.urandom(100_000)
    bucket.put("a/b", content)
    assert bucket.get("a/b") == content
    assert bucket.get("a/c") is None
    (tmp_path / "file").write_bytes(content)
    bucket.upload("a/d", tmp_path / "file")
    assert bucket.download("a/d", tmp_path / "copy") is not None
    assert (tmp_path / "copy").read_bytes() == content
    assert [entry.key for entry in bucket.entries("a/")] == ["a/b", "a/d"]
    assert proxy.did[trouble] >= 5


def test_a_large_file_in_parts_is_survived(proxy, s3_url, tmp_path):
    bucket = objects.parse(s3_url)
    turns = itertools.count()
    proxy.mood = lambda method, _: THROTTLE if method == "PUT" and next(turns) % 2 else PASS
    content = os.urandom(20 * 2**20)
    (tmp_path / "file").write_bytes(content)
    bucket.upload("large", tmp_path / "file")
    proxy.mood = lambda _method, _path: PASS
    assert bucket.get("large") == content
    assert proxy.did[THROTTLE] >= 1


def test_a_creation_whose_answer_was_lost_counts_as_made(proxy, s3_url):
    bucket = objects.parse(s3_url)
    turns = itertools.count()
    proxy.mood = lambda method, _: MUTE if method == "PUT" and next(turns) == 0 else PASS
    assert bucket.create("lease", b"mine")
    assert proxy.did[MUTE] == 1
    assert not bucket.create("lease", b"yours")
    assert bucket.get("lease") == b"mine"


def test_patience_ends_with_the_key_and_the_number_of_attempts(proxy, s3_url, monkeypatch):
    monkeypatch.setattr(objects, "DEADLINE_SECONDS", 0.5)
    proxy.mood = lambda _method, _path: THROTTLE
    with pytest.raises(StorageError, match=r"s3://.*/prefix/a: .*SlowDown.* after \d+ attempts"):
        objects.parse(s3_url).get("a")


def test_what_can_never_succeed_is_said_at_once(s3_url):
    with pytest.raises(ValueError, match="make the bucket first"):
        objects.parse("s3://there-is-none/x").put("a", b"")


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://key:secret@bucket/x"])
def test_a_url_that_names_no_bucket_or_holds_a_key_is_refused_without_repeating_the_key(url):
    with pytest.raises(ValueError, match="s3://bucket/prefix") as refusal:
        objects.parse(url)
    assert "secret" not in str(refusal.value)


def test_ages_are_by_the_servers_clock(s3_url, monkeypatch):
    bucket = objects.parse(s3_url)
    bucket.put("a", b"")
    monkeypatch.setattr(objects.time, "time", lambda: 0.0)
    (entry,) = bucket.entries("a")
    assert 0 <= entry.age_seconds < 60
