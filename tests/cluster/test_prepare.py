"""Corpora prepared through Ray Data: the result of one process, and errors of their kind."""

import dataclasses
import gzip

import pytest
import ray

from ray_slm import errors, recipes
from ray_slm.cluster.prepare import prepare
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.corpus import prepare_all
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.corpora.libriheavy_shape import build, shaped_corpus
from ray_slm.corpora.libriheavy_sources import manifest_name, pinned
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import local
from ray_slm.stages.site import Site

# Ray Data's own context warns of its own fields; the command line's tests run it elsewhere.
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]


@pytest.fixture(scope="module")
def cluster():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def unaligned(places, tmp_path_factory):
    """(corpus, places): a corpus in the shape of Libriheavy that pocketsphinx is to align."""
    folder = tmp_path_factory.mktemp("shape")
    tiny = LaptopCorpus(train_hours=0.02, dev_minutes=0.3, num_shards=1)
    prepare_all(tiny, folder / "laptop", places)
    corpus, at = shaped_corpus(build(folder / "laptop", folder / "shape"))
    forced = dataclasses.replace(corpus, alignment=ForcedAlignment(), max_bad_fraction=0.2)
    return pinned(forced, at), {**at, **places}


def stage_of(corpus):
    return Stage(name="corpus/shape", recipe=recipes.PrepareCorpus(corpus=corpus), inputs={})


def test_ray_data_and_one_process_give_the_same_bytes(cluster, unaligned, tmp_path):
    corpus, at = unaligned
    stage, files = stage_of(corpus), []
    for name, way in (("ray", prepare), ("local", local.execute)):
        store = Store(tmp_path / name)
        way(stage, Site(store, at))
        files.append(store.record(stage.address)["files"])
    assert files[0] == files[1]
    assert sum(name.endswith(".parquet") for name in files[0]) == corpus.num_shards


def test_a_users_mistake_found_in_a_shard_is_still_a_users_mistake(cluster, unaligned, tmp_path):
    corpus, at = unaligned
    copy = tmp_path / "manifests"
    copy.mkdir()
    for path in at["libriheavy"].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    path = copy / manifest_name("dev")
    lines = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(lines + lines.splitlines()[0] + b"\n"))
    own = {**at, "libriheavy": copy}
    with pytest.raises(Exception, match="1 ids stand twice") as caught:
        prepare(stage_of(pinned(corpus, own)), Site(Store(tmp_path / "root"), own))
    assert errors.exit_code(caught.value) == errors.EXIT_USER
