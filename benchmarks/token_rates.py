"""Tokenizing text and phones, and reading tokens, against the plainest ways of doing either.

``vs_process_pool``: all five text and phone modalities through Ray Data (warm), against a process
pool that calls the same functions on as many processes.  ``vs_sentencepiece_loop``: Text-BPE
against SentencePiece called per sentence, ids equal.  ``random_window_reads_vs_parquet``: random
utterances of a store against the same from Parquet, 4,096 at a time.  ``bytes_per_token``: of the
50 Hz store, index included.  ``memory_growth``: peak memory for 100k utterances over that for 1k;
``memory_growth_from_10k``: over that for 10k, where every chunk is full already.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from itertools import chain
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np

from benchmarks.token_reads import against_parquet, bytes_per_token, memory_growth
from benchmarks.token_stages import REPOSITORY, Work, forgotten, prepared
from ray_slm.modalities.modality import Form, Tokenizer
from ray_slm.modalities.sentence_pieces import MODEL_FILE
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import tokenize as verbs
from ray_slm.stages.site import Site
from ray_slm.token_sources import CorpusRows

ROUNDS = 3
_tokenizers: dict[str, Tokenizer] = {}  # of a process of the pool


def _pool_shard(task: tuple[Stage, Site, int]) -> float:
    stage, site, shard = task
    if stage.address not in _tokenizers:
        _tokenizers[stage.address] = verbs.load_tokenizer(stage, site)
    return verbs.tokenize_one(stage, site, _tokenizers[stage.address], shard).seconds


def _pool_finish(task: tuple[Stage, Site]) -> None:
    stage, site = task
    verbs.finish(stage, site, verbs.load_tokenizer(stage, site).vocab_size)


def by_pool(pool: Pool, stage: Stage, site: Site) -> None:
    """What Ray Data does, by a process pool."""
    shards = verbs.missing_shards(stage, site)
    for _ in pool.imap_unordered(_pool_shard, [(stage, site, shard) for shard in shards]):
        pass
    pool.map(_pool_finish, [(stage, site)])


def against_pool(work: Work, small: Work) -> dict[str, tuple[float, float]]:
    """Seconds by Ray Data and by the pool, of each modality; medians of interleaved rounds."""
    from ray_slm.cluster.session import worker_environment

    os.environ.update(worker_environment(), PYTHONPATH=str(REPOSITORY), RAY_DATA_LOG_LEVEL="ERROR")
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as the processes of the pool, when others compete
    import ray

    from ray_slm.cluster import tokenize as by_ray

    cores = os.cpu_count() or 1
    found: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in work.stages}
    ray.init("local", num_cpus=cores, include_dashboard=False, logging_level="ERROR")
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        for of_round in (small, small, *[work] * ROUNDS):  # the small ones warm processes
            for name, (of_ray, of_pool) in found.items():
                stage, site = of_round.stages[name], forgotten(of_round, name).site
                start = time.perf_counter()
                by_ray.tokenize(stage, site)
                of_ray.append(time.perf_counter() - start)
                site = forgotten(of_round, name).site
                start = time.perf_counter()
                by_pool(pool, stage, site)
                of_pool.append(time.perf_counter() - start)
    ray.shutdown()
    return {
        name: (statistics.median(ours[2:]), statistics.median(theirs[2:]))
        for name, (ours, theirs) in found.items()
    }


def against_loop(work: Work) -> float:
    """Sentences per processor second of Text-BPE's columns over those of a SentencePiece loop.

    Table by table in turns, over all sentences; every round begins with a tokenizer that has seen
    no word.
    """
    import sentencepiece

    stage = work.stages["text-bpe"]
    vocabulary = work.site.store.path(stage.inputs["vocabulary"].address)
    model = (vocabulary / MODEL_FILE).read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    rows = CorpusRows(work.site.store.path(work.corpus.address), Form.TEXT)
    shards = verbs.missing_shards(stage, forgotten(work, "text-bpe").site)
    ratios = []
    for _ in range(ROUNDS):
        ours = theirs = 0.0
        start = time.process_time()
        tokenizer = verbs.load_tokenizer(stage, work.site)
        ours += time.process_time() - start
        for table in chain.from_iterable(map(rows.chunks, shards)):
            texts = [f" {text}" for text in table["transcript"].to_pylist()]
            start = time.process_time()
            looped = [np.asarray(processor.encode(text)) - 1 for text in texts]
            middle = time.process_time()
            found = tokenizer.tokenize(table, _silent)
            ours += time.process_time() - middle
            theirs += middle - start
            np.testing.assert_array_equal(found.flat_T, np.concatenate(looped))
            np.testing.assert_array_equal(found.lengths_B, [len(ids) for ids in looped])
        ratios.append(theirs / ours)
    return statistics.median(ratios)


def _silent(utterance: object) -> np.ndarray:
    raise AssertionError("text was to be read, not heard")


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--sentences", type=int, default=500_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = prepared(Path(folder) / "large", options.sentences, num_shards=32)
        times = against_pool(work, prepared(Path(folder) / "small", 4_000, num_shards=8))
        total_ray, total_pool = map(sum, zip(*times.values(), strict=True))
        sizes = {name: bytes_per_token(work, name) for name in times}
        figures = {
            "vs_process_pool": total_pool / total_ray,
            "random_window_reads_vs_parquet": against_parquet(work, Path(folder)),
            "bytes_per_token": sizes["phone-repeat"],
            "vs_sentencepiece_loop": against_loop(work),
            **memory_growth(),
        }
    if options.json:
        print(json.dumps({"figures": {name: round(x, 3) for name, x in figures.items()}}))
        return
    for name, (ours, theirs) in times.items():
        print(f"{name:<14}{theirs / ours:6.2f} of the pool's pace, {sizes[name]:.3f} bytes/token")
    for name, figure in figures.items():
        print(f"{name:<32}{figure:8.3f}")
