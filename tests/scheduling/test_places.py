"""External data in a bucket look like a folder to whoever reads them."""

import pickle

import pytest

from ray_slm import launch
from ray_slm.scheduling.objects import parse
from ray_slm.scheduling.places import Places


@pytest.fixture
def bucket(s3_url):
    found = parse(s3_url)
    for name in ("a.wav", "deep/b.wav"):
        found.put(name, name.encode())
    return found


def test_a_place_in_a_bucket_is_copied_once_and_kept_up_to_date(bucket, s3_url, tmp_path):
    def here():
        folder = Places({"mine": s3_url}, tmp_path)["mine"]
        files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    assert here() == {"a.wav": b"a.wav", "deep/b.wav": b"deep/b.wav"}
    bucket.put("a.wav", b"a.waw")
    bucket.delete("deep/b.wav")
    assert here() == {"a.wav": b"a.waw"}


def test_naming_a_place_copies_nothing_and_another_node_copies_for_itself(bucket, s3_url, tmp_path):
    places = launch.places([f"mine={s3_url}/"], str(tmp_path / "one"))
    assert "mine" in places
    assert "other" not in places
    assert sorted(pickle.loads(pickle.dumps(places))) == ["assets", "mine"]
    assert not (tmp_path / "one").exists()


def test_an_object_that_would_lie_outside_is_refused(bucket, s3_url, tmp_path):
    bucket.put("../../outside", b"")
    with pytest.raises(ValueError, match="not inside its folder"):
        Places({"mine": s3_url}, tmp_path)["mine"]
    assert not list(tmp_path.rglob("outside"))


def test_an_empty_place_is_refused(s3_url, tmp_path):
    with pytest.raises(ValueError, match="holds no objects"):
        Places({"mine": s3_url}, tmp_path)["mine"]


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a path that exists"):
        launch.places([f"mine={tmp_path / 'none'}"])
