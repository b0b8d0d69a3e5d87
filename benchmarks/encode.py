"""Encoding speech into a token store, against a bare loop over the encoder.

``vs_bare_loop``: audio per second of the whole path (rows read, FLAC decoded, batches formed,
frames encoded and named, tokens and index written), over that of a loop that calls the encoder on
waveforms which lie in memory already.  Shard by shard in turn, one process, one thread of torch;
on a GPU the loop gets the same batches.  ``batched_equal_alone``: the share of utterances whose
units are the same in a batch and alone; it must be 1.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.sentences import Sentences
from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.utterance import SCHEMA, Utterance, read_shard, read_tables
from ray_slm.modalities import speech_whisper
from ray_slm.modalities.modality import Form
from ray_slm.modalities.speech_units import SpeechUnits, device
from ray_slm.token_shards import tokenize_shard
from ray_slm.token_sources import CorpusRows
from ray_slm.units.batches import batches
from ray_slm.units.extractor import Encoder

ASSETS = Path(__file__).parents[1] / ".assets"
UNITS = SpeechUnits(
    extractor=speech_whisper.STREAM.extractor, num_units=100, sample_minutes=2, num_inits=1
)


def bare(encoder: Encoder, waveforms: list[np.ndarray]) -> float:
    """Seconds of the loop."""
    grouped = batches([encoder.bucket(len(one)) for one in waveforms])
    start = time.perf_counter()
    for group in grouped:
        encoder.encode([waveforms[i] for i in group])[-1].cpu()
    return time.perf_counter() - start


def measured(folder: Path, corpus: Sentences) -> dict[str, float]:
    """Both figures, on a corpus that is written first."""
    places = {"assets": ASSETS}
    corpus.prepare(folder / "corpus", places)
    corpus.speak(folder / "corpus")

    def waveform(utterance: Utterance) -> np.ndarray:
        return read_audio(folder / "corpus", utterance)

    tables = read_tables(folder / "corpus", SCHEMA.names, "train")
    UNITS.fit(tables, waveform, folder / "codebook", places)
    tokenizer = UNITS.load(folder / "codebook", places)
    encoder = UNITS.extractor.load(places, device())
    rows, ratios, equal = CorpusRows(folder / "corpus", Form.AUDIO), [], []
    for shard in range(corpus.num_shards):
        waveforms = [waveform(one) for one in read_shard(folder / "corpus", shard)]
        before = bare(encoder, waveforms)
        start = time.perf_counter()
        tokenize_shard(rows, shard, tokenizer, waveform, folder / "tokens")
        whole = time.perf_counter() - start
        ratios.append((before + bare(encoder, waveforms)) / 2 / whole)
        (table,) = rows.chunks(shard)
        together = tokenizer.tokenize(table, waveform)
        alone = [tokenizer.tokenize(table.slice(i, 1), waveform) for i in range(len(table))]
        parts = np.split(together.flat_T, np.cumsum(together.lengths_B)[:-1])
        equal += [np.array_equal(a, b.flat_T) for a, b in zip(parts, alone, strict=True)]
    return {
        "vs_bare_loop": statistics.median(ratios[1:]),  # the first warms both
        "batched_equal_alone": float(np.mean(equal)),
    }


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(Path(folder), Sentences(num_sentences=150, num_shards=6))
    if as_json:
        print(json.dumps({"figures": {name: round(x, 3) for name, x in figures.items()}}))
        return
    for name, figure in figures.items():
        print(f"{name:<22}{figure:8.3f}")


if __name__ == "__main__":
    main()
