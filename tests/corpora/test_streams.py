"""Lines read as a stream, and records put down by shard: nothing lost, doubled or out of order."""

import gzip
import hashlib
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.corpora import lines
from ray_slm.corpora.lines import read_lines
from ray_slm.corpora.scatter import Scatter, gather

LINES = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=50)


def members(content, cuts):
    """gzip members that hold the content, cut where `cuts` say."""
    edges = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    return b"".join(gzip.compress(content[a:b]) for a, b in itertools.pairwise(edges))


@settings(deadline=None)
@given(written=LINES, cuts=st.lists(st.integers(0, 10**6), max_size=3), chunk=st.integers(2, 64))
def test_lines_come_back_whatever_the_chunks_and_members(written, cuts, chunk):
    content = b"".join(line + b"\n" for line in written)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CHUNK_BYTES", chunk)
        for raw in (content, members(content, cuts)):
            path, seen = Path(folder, "x"), hashlib.sha256()
            path.write_bytes(raw)
            is_gzip = content.startswith(b"\x1f\x8b")  # a plain text that looks like gzip is none
            if raw == content and is_gzip:
                continue
            assert list(read_lines(path, seen)) == written
            assert seen.hexdigest() == hashlib.sha256(raw).hexdigest()


def test_a_last_line_without_an_end_is_a_line(tmp_path):
    (tmp_path / "x").write_bytes(b"a\n\nb")
    assert list(read_lines(tmp_path / "x", hashlib.sha256())) == [b"a", b"", b"b"]


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.99])
def test_gzip_that_breaks_off_or_is_damaged_is_refused(kept, tmp_path):
    whole = gzip.compress(bytes(range(256)) * 100)
    (tmp_path / "x.gz").write_bytes(whole[: max(4, int(len(whole) * kept))])
    with pytest.raises(ValueError, match=r"x.gz is damaged .*; fetch it again"):
        list(read_lines(tmp_path / "x.gz", hashlib.sha256()))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 8
    (tmp_path / "x.gz").write_bytes(flipped)
    with pytest.raises(ValueError, match=r"x.gz is damaged"):
        list(read_lines(tmp_path / "x.gz", hashlib.sha256()))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone.gz cannot be read"):
        list(read_lines(tmp_path / "gone.gz", hashlib.sha256()))


@settings(deadline=None)
@given(
    records=st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=9), st.binary(max_size=30))),
    most_bytes=st.integers(1, 500),
)
def test_records_come_back_by_shard_in_order(records, most_bytes):
    with tempfile.TemporaryDirectory() as folder:
        with Scatter(Path(folder, "s"), 5, most_bytes) as down:
            for shard, key, content in records:
                down.add(shard, key, content)
        for shard in range(5):
            expected = [(key, content) for at, key, content in records if at == shard]
            assert list(gather(Path(folder, "s"), shard)) == expected


def test_a_stream_that_fails_leaves_no_folder_and_a_new_one_replaces_the_old(tmp_path):
    def put(*contents):
        with Scatter(tmp_path / "s", 1) as down:
            for content in contents:
                down.add(0, b"", content)
                assert content != b"bad", "stop"

    with pytest.raises(AssertionError, match="stop"):
        put(b"a", b"bad")
    assert list(tmp_path.iterdir()) == []
    put(b"a", b"b")
    put(b"c")
    assert [content for _, content in gather(tmp_path / "s", 0)] == [b"c"]
