"""A bucket on a real S3 server, for what is tested against both kinds of root."""

import itertools

import pytest

from ray_slm.scheduling import objects
from ray_slm.scheduling.store import open_store
from tests import bucket

_names = (f"root-{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def s3_port():
    with bucket.server() as port:
        yield port


@pytest.fixture
def s3_url(s3_port, monkeypatch):
    """The URL of a fresh bucket, reached through the environment of this process."""
    name = next(_names)
    bucket.make_bucket(s3_port, name)
    reach(s3_port, monkeypatch)
    yield f"s3://{name}/some/prefix"
    objects.client.cache_clear()


@pytest.fixture
def proxy(s3_port, s3_url, monkeypatch):
    """A proxy before the server that passes everything until told otherwise."""
    with bucket.proxy(s3_port, lambda _method, _path: bucket.PASS) as found:
        reach(found.port, monkeypatch)
        monkeypatch.setattr(objects, "FIRST_PAUSE_SECONDS", 0.01)
        yield found


@pytest.fixture
def node(s3_url, tmp_path):
    """Opens the bucket as another node would: with a cache of its own."""
    return lambda name: open_store(s3_url, tmp_path / name)


def reach(port, monkeypatch):
    for name, value in bucket.environment(port).items():
        monkeypatch.setenv(name, value)
    objects.client.cache_clear()
