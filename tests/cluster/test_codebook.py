"""A codebook whose sample Ray's actors encode: the bytes of one process, and the same refusals."""

import dataclasses

import numpy as np
import pytest
import ray
import soundfile
import torch

from ray_slm import recipes
from ray_slm.cluster.tokenize import fit_codebook, tokenize
from ray_slm.corpora.utterance import write_utterances
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.pace import read_pace
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.scheduling.token_stages import token_stages
from ray_slm.stages import local
from ray_slm.stages.site import Site
from ray_slm.units.hubert import HubertLayer
from tests.modalities.conftest import make_speech, waveform
from tests.units.small_hubert import save_small

# Ray Data's own context warns of its own fields; the command line's tests run it elsewhere.
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tones:
    """Stands for the corpus that the test writes."""

    num_shards: int = 1
    max_bad_fraction: float = 0.0


@pytest.fixture(scope="module")
def cluster():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as Ray's workers have
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    torch.set_num_threads(threads)


def made(root, hubert, digest, num_units):
    """A site with a corpus of tones, and the stages of a small HuBERT's units."""
    site = Site(Store(root), {"small": hubert})
    corpus = Stage(name="corpus/tones", recipe=recipes.PrepareCorpus(corpus=Tones()))
    folder = site.store.path(corpus.address)
    (folder / "audio").mkdir(parents=True)
    utterances = []
    for utterance in make_speech(150).utterances:
        path = f"audio/{utterance.id}.flac"
        soundfile.write(folder / path, waveform(utterance), 16_000)
        utterances.append(dataclasses.replace(utterance, audio=path))
    write_utterances(folder, 0, utterances)
    site.store.commit(corpus, summary={}, made="here")
    extractor = HubertLayer(checkpoint="small", layer=2, sha256=digest)
    units = SpeechUnits(
        extractor=extractor, num_units=num_units, sample_minutes=30, num_inits=1, max_iterations=5
    )
    return site, token_stages("units", units, {"corpus": corpus}, 0.0).stages


def files(site, stages):
    return [site.store.record(stage.address)["files"] for stage in stages]


def test_actors_and_one_process_fit_the_same_codebook_and_give_the_same_units(cluster, tmp_path):
    hubert = tmp_path / "hubert"
    digest = save_small(hubert)
    alone, stages = made(tmp_path / "alone", hubert, digest, 8)
    for stage in stages:
        local.execute(stage, alone)
    shared, (fit, units) = made(tmp_path / "shared", hubert, digest, 8)
    fit_codebook(fit, shared)
    tokenize(units, shared)
    assert files(shared, stages) == files(alone, stages)
    of_fit = [site.store.record(fit.address)["summary"] for site in (alone, shared)]
    assert of_fit[0] == of_fit[1]
    assert of_fit[0]["num_utterances"] == 150  # three pieces


def test_a_fit_that_is_refused_keeps_what_was_encoded(cluster, tmp_path):
    hubert = tmp_path / "hubert"
    site, (fit, _) = made(tmp_path / "root", hubert, save_small(hubert), 60_000)
    with pytest.raises(ValueError, match="60000 units cannot be fitted on"):
        fit_codebook(fit, site)
    scratch = site.store.scratch(fit.address)
    assert not site.store.has(fit.address)
    assert read_pace(scratch).seconds_left == 0
    assert len([*scratch.glob("features-*.npy")]) == 3
    assert sum(map(len, map(np.load, scratch.glob("features-*.npy")))) > 0
