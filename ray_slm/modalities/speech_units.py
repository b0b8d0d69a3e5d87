"""The stream of speech units: an encoder's features, named by the nearest centroid, at 50 Hz.

The encoder and its layer are fields, so each encoder's modality file is a few lines.  Fitting is
in three steps, so that a cluster can share the second: choose a sample, encode it, fit.
Legend: B utterances, U frames, N frames of the fitting sample, D width, T tokens.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from ray_slm.corpora.alignment import frame_count
from ray_slm.corpora.utterance import Quarantined, Utterance
from ray_slm.modalities.modality import Form, Tokens, Waveform, refuse
from ray_slm.modalities.sampling import minutes_of_audio
from ray_slm.modalities.unit_quality import describe
from ray_slm.units.batches import batches, read_ahead
from ray_slm.units.extractor import Encoder, FeatureExtractor
from ray_slm.units.kmeans import Codebook, fit_codebook

if TYPE_CHECKING:
    import torch

READERS_BESIDE_GPU = 8  # decoding FLAC is some 1,000 times real time on one processor


def unreadable(utterance: Utterance, extractor: FeatureExtractor) -> Quarantined | None:
    """Why an extractor cannot read an utterance of this length, or None."""
    if frame_count(utterance.num_samples) == 0:
        return refuse(utterance.id, "TOO_SHORT", f"{utterance.num_samples} samples hold no frame")
    limit = extractor.max_samples
    if limit is not None and utterance.num_samples > limit:
        detail = f"{utterance.num_samples} samples, the encoder reads {limit} at most"
        return refuse(utterance.id, "TOO_LONG", detail)
    return None


def as_utterances(table: pa.Table) -> list[Utterance]:
    """The rows of a table as something that can be heard; phones are left behind."""
    table = table.drop_columns([n for n in ("phones", "ends") if n in table.column_names])
    return [Utterance(**row, phones=(), ends=()) for row in table.to_pylist()]


def device() -> str:
    """Where encoders run."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def encode(
    utterances: Sequence[Utterance], waveform: Waveform, encoder: Encoder, readers: int
) -> Iterator[tuple[int, "torch.Tensor"]]:
    """Number and features (U, D) of every utterance, batch by batch, in no order to rely on."""
    grouped = batches([encoder.bucket(one.num_samples) for one in utterances])
    heard = read_ahead(waveform, ([utterances[i] for i in group] for group in grouped), readers)
    with closing(heard):
        for group, waveforms in zip(grouped, heard, strict=True):
            yield from zip(group, encoder.encode(waveforms), strict=True)


class SpeechUnitsTokenizer:
    """Waveforms to units."""

    def __init__(self, stream: "SpeechUnits", encoder: Encoder, codebook: Codebook) -> None:
        self.vocab_size = codebook.num_units
        self._stream, self._encoder, self._codebook = stream, encoder, codebook
        self._readers = _readers()

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """One unit per frame."""
        utterances = as_utterances(table)
        extractor = self._stream.extractor
        refused = {
            row: found
            for row, utterance in enumerate(utterances)
            if (found := unreadable(utterance, extractor)) is not None
        }
        read = [row for row in range(len(utterances)) if row not in refused]
        units: dict[int, np.ndarray] = {}
        chosen = [utterances[row] for row in read]
        for number, features_UD in encode(chosen, waveform, self._encoder, self._readers):
            finite = features_UD.isfinite().all()
            units[read[number]] = self._named(features_UD, finite)
        for row in [row for row, units_U in units.items() if units_U[0] < 0]:
            detail = "the encoder's features are not finite"
            refused[row] = refuse(utterances[row].id, "NOT_FINITE", detail)
            del units[row]
        lengths_B = np.array([len(units.get(row, ())) for row in range(len(table))], np.int64)
        flat = [units[row] for row in sorted(units)]
        flat_T = np.concatenate([np.zeros(0, np.int32), *flat]).astype(np.uint16)
        return Tokens(flat_T, lengths_B, refused)

    def _named(self, features_UD: "torch.Tensor", finite: "torch.Tensor") -> np.ndarray:
        """int32 (U,): the units, or -1 where features are not finite; one copy off the device."""
        units_U = self._codebook.assign(features_UD).int()
        found: np.ndarray = units_U.where(finite, -1).cpu().numpy()
        return found


def _readers() -> int:
    return READERS_BESIDE_GPU if device() == "cuda" else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechUnits:
    """K-means units over an extractor's features, one per frame.

    Fitted on ``sample_minutes`` of training utterances, chosen by seeded hash of the id.
    """

    REVISION: ClassVar[int] = 1
    form = Form.AUDIO

    extractor: FeatureExtractor
    num_units: int
    sample_minutes: int = 60
    seed: int = 0
    max_iterations: int = 100
    num_inits: int = 3

    def fit(
        self,
        tables: Iterable[pa.Table],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """All three steps in this process.  Raises ValueError as they do."""
        sample = self.sample(tables)
        features_ND = self.features(sample, waveform, self.extractor.load(places, device()))
        return self.fit_codebook(sample, features_ND, folder)

    def sample(self, tables: Iterable[pa.Table]) -> pa.Table:
        """The utterances to fit on, sorted by id.  Raises ValueError when there is none."""
        return minutes_of_audio(tables, self.sample_minutes, self.seed)

    def features(self, sample: pa.Table, waveform: Waveform, encoder: Encoder) -> np.ndarray:
        """float32 (N, D): the frames of a sample, or a part of it, one after the other.

        Utterances that cannot be read have none.  Raises ValueError naming one whose features
        are not finite.
        """
        chosen = [u for u in as_utterances(sample) if unreadable(u, self.extractor) is None]
        ends = np.cumsum([frame_count(u.num_samples) for u in chosen], dtype=np.int64)
        features_ND = np.empty((ends[-1] if len(ends) else 0, encoder.dim), dtype=np.float32)
        for number, features_UD in encode(chosen, waveform, encoder, _readers()):
            if not bool(features_UD.isfinite().all()):
                raise ValueError(
                    f"{chosen[number].id}: the encoder's features are not finite; its audio?"
                )
            end = ends[number]
            features_ND[end - len(features_UD) : end] = features_UD.cpu().numpy()
        return features_ND

    def fit_codebook(
        self, sample: pa.Table, features_ND: np.ndarray, folder: Path
    ) -> dict[str, object]:
        """Fit and write the codebook; the summary tells its quality on the sample.

        ``features_ND`` is scaled in place.  Raises ValueError for too few frames or a collapsed
        codebook.
        """
        codebook, units_N = fit_codebook(
            features_ND,
            self.num_units,
            extractor=repr(self.extractor),
            seed=self.seed,
            max_iterations=self.max_iterations,
            num_inits=self.num_inits,
        )
        codebook.write(folder)
        readable = [unreadable(u, self.extractor) is None for u in as_utterances(sample)]
        read = sample.filter(pa.array(readable))
        counts = {"num_utterances": len(read), "num_refused": len(sample) - len(read)}
        return {**counts, **describe(units_N, read, self.num_units)}

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> SpeechUnitsTokenizer:
        """The tokenizer.  Raises ValueError when the codebook is of another extractor or size."""
        assert vocabulary is not None, "speech units need their fitted codebook"
        codebook = Codebook.read(vocabulary, device())
        if (codebook.extractor, codebook.num_units) != (repr(self.extractor), self.num_units):
            raise ValueError(
                f"{vocabulary}: the codebook has {codebook.num_units} units of "
                f"{codebook.extractor}, but {self.num_units} units of {self.extractor!r} are "
                "needed; fit the vocabulary again"
            )
        return SpeechUnitsTokenizer(self, self.extractor.load(places, device()), codebook)
