"""Encoding speech into a token store by Ray Data's actors, against a bare loop over the encoder.

``whisper_vs_bare_loop``, ``hubert_vs_bare_loop`` and the smaller of both, ``vs_bare_loop``: audio
per second of one actor (rows read, FLAC decoded, batches formed, frames encoded and named, tokens
and index written, the next shard asked for), over that of a loop that calls the encoder on
waveforms which lie in memory already.
The actor's clock runs from its first finished shard to its last, so starting it is left out.  The
loop encodes the same utterances before and after it, once the pool's processes are gone: beside
their end it ran at half its pace.  One thread of torch each; HuBERT's weights are random.
``batched_equal_alone``: the share of utterances whose units are the same in a batch and alone.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.sentences import Sentences
from benchmarks.token_stages import REPOSITORY
from ray_slm.corpora.utterance import read_shard
from ray_slm.modalities import speech_whisper
from ray_slm.modalities.modality import Form, Tokenizer, Waveform
from ray_slm.modalities.speech_units import SpeechUnits, device
from ray_slm.recipes import PrepareCorpus
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.scheduling.token_stages import token_stages
from ray_slm.stages import local
from ray_slm.stages import tokenize as verbs
from ray_slm.stages.site import Site
from ray_slm.token_shards import quarantine_path
from ray_slm.token_sources import CorpusRows
from ray_slm.units.batches import batches
from ray_slm.units.extractor import Encoder, FeatureExtractor
from ray_slm.units.hubert import HubertLayer

ASSETS = REPOSITORY / ".assets"
CORPUS = Sentences(num_sentences=160, num_shards=4)  # real shards hold thousands
ROUNDS = 3
POOL_ENDS_S = 10.0
CONVOLUTIONS = (128,) * 7
HUBERT = {
    **{"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4},
    **{"intermediate_size": 1024, "conv_dim": CONVOLUTIONS, "conv_bias": True},
    **{"do_stable_layer_norm": True, "feat_extract_norm": "layer"},
}


class Unpaced:
    """Takes no notice: shards say when they were done by the files they leave."""

    def add(self, seconds: float) -> None:
        """So much more audio is done."""


def pace(folder: Path, seconds: list[float]) -> float:
    """Audio per second of an actor, from the first shard's end to the last one's."""
    done = [quarantine_path(folder, i).stat().st_mtime_ns / 1e9 for i in range(len(seconds))]
    first = done.index(min(done))
    return (sum(seconds) - seconds[first]) / (max(done) - min(done))


def small_hubert(folder: Path) -> HubertLayer:
    """A HuBERT with the norms of the Large one and random weights."""
    import hashlib

    import torch
    from transformers import AutoModel, HubertConfig, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    AutoModel.from_config(HubertConfig(**HUBERT)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return HubertLayer(checkpoint="hubert", layer=4, sha256=digest)


def bare(encoder: Encoder, waveforms: list[np.ndarray]) -> float:
    """Audio per second of the loop."""
    grouped = batches([encoder.bucket(len(one)) for one in waveforms])
    start = time.perf_counter()
    for group in grouped:
        encoder.encode([waveforms[i] for i in group])[-1].cpu()
    return sum(map(len, waveforms)) / 16_000 / (time.perf_counter() - start)


def measured(extractor: FeatureExtractor, site: Site, corpus: Stage) -> tuple[float, float]:
    """The pace of the actor over the loop's, and the share of units equal alone and batched."""
    from ray_slm.cluster import tokenize as by_ray

    units = SpeechUnits(extractor=extractor, num_units=50, sample_minutes=2, num_inits=1)
    fit, tokens = token_stages("units", units, {"corpus": corpus}, 0.0).stages
    local.execute(fit, site)
    folder, encoder = site.store.path(corpus.address), extractor.load(site.places, device())
    waveform = verbs.waveform_reader(tokens, site)
    shards = range(CORPUS.num_shards)
    utterances = [read_shard(folder, shard) for shard in shards]
    waveforms = [waveform(one) for of_shard in utterances for one in of_shard]
    seconds = [sum(one.duration for one in of_shard) for of_shard in utterances]
    ratios, before = [], bare(encoder, waveforms)
    for _ in range(ROUNDS):
        by_ray.stream(shards, by_ray.by_encoders(by_ray.ShardTokenizer), tokens, site, Unpaced())
        ours = pace(site.store.path(tokens.address), seconds)
        time.sleep(POOL_ENDS_S)
        after = bare(encoder, waveforms)
        ratios.append(ours / statistics.mean([before, after]))
        before = after
    tokenizer = verbs.load_tokenizer(tokens, site)
    (table,) = CorpusRows(folder, Form.AUDIO).chunks(0)
    return statistics.median(ratios), _equal(tokenizer, table, waveform)


def _equal(tokenizer: Tokenizer, table: pa.Table, waveform: Waveform) -> float:
    together = tokenizer.tokenize(table, waveform)
    alone = [tokenizer.tokenize(table.slice(i, 1), waveform) for i in range(len(table))]
    parts = np.split(together.flat_T, np.cumsum(together.lengths_B)[:-1])
    equal = [np.array_equal(a, b.flat_T) for a, b in zip(parts, alone, strict=True)]
    return float(np.mean(equal))


def figures(folder: Path) -> dict[str, float]:
    """All figures, on a corpus that is written first."""
    from ray_slm.cluster.session import worker_environment

    os.environ.update(worker_environment(), PYTHONPATH=str(REPOSITORY), RAY_DATA_LOG_LEVEL="ERROR")
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's name; as the loop has
    import ray

    site = Site(Store(folder), {"assets": ASSETS, "hubert": folder / "hubert"})
    corpus = Stage(name="corpus/sentences", recipe=PrepareCorpus(corpus=CORPUS))
    CORPUS.prepare(site.store.path(corpus.address), site.places)
    CORPUS.speak(site.store.path(corpus.address))
    site.store.commit(corpus, summary={}, made="here")
    extractors: dict[str, FeatureExtractor] = {
        "whisper": speech_whisper.STREAM.extractor,
        "hubert": small_hubert(folder / "hubert"),
    }
    found, equal = {}, []
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")  # one encoder
    for name, extractor in extractors.items():
        found[f"{name}_vs_bare_loop"], share = measured(extractor, site, corpus)
        equal.append(share)
    ray.shutdown()
    return {**found, "vs_bare_loop": min(found.values()), "batched_equal_alone": min(equal)}


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = figures(Path(folder))
    if as_json:
        print(json.dumps({"figures": {name: round(x, 3) for name, x in found.items()}}))
        return
    for name, figure in found.items():
        print(f"{name:<24}{figure:8.3f}")


if __name__ == "__main__":
    main()
