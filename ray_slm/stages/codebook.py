"""Fitting a codebook in three steps that a cluster can share: sample, features, k-means.

The sample is cut into pieces that any worker encodes, each a file of features in the stage's
scratch folder, so a killed fit goes on with the pieces it lacks.  K-means itself reads all pieces
as one array on disk: with 20 h of audio it is minutes of one processor, encoding is hours.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm import parquet
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.pace import Pacer
from ray_slm.recipes import FitVocabulary
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site, made_with
from ray_slm.stages.tokenize import training_tables, vocabulary_folder, waveform_reader
from ray_slm.units.extractor import Encoder

SAMPLE = "sample.parquet"
PIECE_ROWS = 64  # some 15 minutes of Libriheavy


class Encoded(NamedTuple):
    """A piece of the sample, and its audio in seconds."""

    piece: int
    seconds: float


def stream_of(stage: Stage) -> SpeechUnits:
    """The stream whose codebook the stage fits."""
    assert isinstance(stage.recipe, FitVocabulary)
    assert isinstance(stage.recipe.stream, SpeechUnits)
    return stage.recipe.stream


def begin(stage: Stage, site: Site) -> list[int]:
    """Choose the sample, once; the pieces of it that are not encoded yet."""
    path = site.store.scratch(stage.address) / SAMPLE
    if not path.is_file():
        parquet.write_table(path, stream_of(stage).sample(training_tables(stage, site)))
    site.store.share(stage.address, SAMPLE)
    site.store.gather(stage.address)
    return [piece for piece in range(_num_pieces(path)) if not _features(path, piece).is_file()]


def encode_piece(stage: Stage, site: Site, encoder: Encoder, piece: int) -> Encoded:
    """Write the features of one piece."""
    path = _sample(stage, site)
    rows = _rows(path, piece)
    features_ND = stream_of(stage).features(rows, waveform_reader(stage, site), encoder)
    target = _features(path, piece)
    draft = target.with_suffix(".tmp")
    with draft.open("wb") as file:
        np.save(file, features_ND)
    draft.replace(target)
    site.store.share(stage.address, target.name)
    return Encoded(piece, _seconds(rows))


def finish(stage: Stage, site: Site) -> None:
    """Fit on all pieces and commit.  Raises ValueError as ``SpeechUnits.fit_codebook`` does."""
    path = _sample(stage, site)
    site.store.gather(stage.address)
    pieces = [np.load(_features(path, i), mmap_mode="r") for i in range(_num_pieces(path))]
    joined = path.with_name("features.npy")
    shape = (sum(map(len, pieces)), pieces[0].shape[1])
    features_ND = np.lib.format.open_memmap(joined, "w+", np.float32, shape)
    np.concatenate(pieces, out=features_ND)
    folder = vocabulary_folder(stage, site)
    sample = parquet.read_table(path)
    summary = stream_of(stage).fit_codebook(sample, features_ND, folder)
    site.store.commit(stage, summary=summary, made=made_with())


def pacer(stage: Stage, site: Site, pieces: list[int]) -> Pacer:
    """A pace over the audio of ``pieces``, the others being done."""
    path = _sample(stage, site)
    total = _seconds(parquet.read_table(path, ["num_samples"]))
    left = sum(_seconds(_rows(path, piece)) for piece in pieces)
    return Pacer(path.parent, before=total - left, total=total)


def _sample(stage: Stage, site: Site) -> Path:
    path = site.store.scratch(stage.address) / SAMPLE
    if not path.is_file():
        site.store.gather(stage.address)
    return path


def _features(sample: Path, piece: int) -> Path:
    return sample.with_name(f"features-{piece:05d}.npy")


def _num_pieces(sample: Path) -> int:
    return -(-len(parquet.read_table(sample, ["id"])) // PIECE_ROWS)


def _rows(sample: Path, piece: int) -> pa.Table:
    return parquet.read_table(sample).slice(piece * PIECE_ROWS, PIECE_ROWS)


def _seconds(rows: pa.Table) -> float:
    return float(rows["num_samples"].to_numpy().sum()) / SAMPLE_RATE_HZ
