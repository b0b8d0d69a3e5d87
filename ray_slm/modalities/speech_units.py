"""The stream of speech units: an encoder's features, named by the nearest centroid, at 50 Hz.

The encoder and its layer are fields, so each encoder's modality file is a few lines.  Utterances
are encoded whole and one by one: the units of one never depend on its neighbors.
Legend: U frames, N frames of the fitting sample, D width, T tokens.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ray_slm.corpora.alignment import frame_count, labels_at_50_hz
from ray_slm.corpora.lexicon import without_stress
from ray_slm.corpora.utterance import Quarantined, Utterance
from ray_slm.modalities.modality import Form, Waveform
from ray_slm.modalities.sampling import sample_by_hash
from ray_slm.units.extractor import Encoder, FeatureExtractor
from ray_slm.units.kmeans import Codebook, fit_codebook
from ray_slm.units.quality import changes_per_frame, dependence, usage

STAGE = "tokenize"


def _refuse(utterance: Utterance, reason: str, detail: str) -> Quarantined:
    return Quarantined(id=utterance.id, stage=STAGE, reason=reason, detail=detail)


def unreadable(utterance: Utterance, extractor: FeatureExtractor) -> Quarantined | None:
    """Why an extractor cannot read an utterance of this length, or None."""
    if frame_count(utterance.num_samples) == 0:
        return _refuse(utterance, "TOO_SHORT", f"{utterance.num_samples} samples hold no frame")
    limit = extractor.max_samples
    if limit is not None and utterance.num_samples > limit:
        detail = f"{utterance.num_samples} samples, the encoder reads {limit} at most"
        return _refuse(utterance, "TOO_LONG", detail)
    return None


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class SpeechUnitsTokenizer:
    """Waveforms to units."""

    def __init__(self, stream: "SpeechUnits", encoder: Encoder, codebook: Codebook) -> None:
        self.vocab_size = codebook.num_units
        self._stream, self._encoder, self._codebook = stream, encoder, codebook

    def tokenize(
        self, utterances: Sequence[Utterance], waveform: Waveform
    ) -> list[np.ndarray | Quarantined]:
        """uint16 units (T,): one per frame, or one per run of equal frames with ``dedup``."""
        return [self._units(utterance, waveform) for utterance in utterances]

    def _units(self, utterance: Utterance, waveform: Waveform) -> np.ndarray | Quarantined:
        refused = unreadable(utterance, self._stream.extractor)
        if refused is not None:
            return refused
        features_UD = self._encoder.encode(waveform(utterance))
        if not bool(features_UD.isfinite().all()):
            return _refuse(utterance, "NOT_FINITE", "the encoder's features are not finite")
        units_U: np.ndarray = self._codebook.assign(features_UD).astype(np.uint16)
        if self._stream.dedup:
            units_U = units_U[np.append(True, units_U[1:] != units_U[:-1])]
        return units_U


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechUnits:
    """K-means units over an extractor's features.

    Fitted on ``sample_minutes`` of training utterances, chosen by seeded hash of the id; the
    features of the sample are held in memory (12 kB per second and 60 of width).
    """

    REVISION: ClassVar[int] = 1
    form = Form.AUDIO
    fits = True

    extractor: FeatureExtractor
    num_units: int
    dedup: bool = False
    sample_minutes: int = 60
    seed: int = 0
    max_iterations: int = 100
    num_inits: int = 3

    def fit(
        self,
        utterances: Iterable[Utterance],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Fit and write the codebook; the summary tells its quality on the fitting sample.

        Raises ValueError for too few frames or a collapsed codebook.
        """
        chosen = sample_by_hash(
            utterances, self.sample_minutes * 60, lambda u: u.duration, self.seed
        )
        read = [u for u in chosen if unreadable(u, self.extractor) is None]
        features_ND = _features(read, waveform, self.extractor.load(places, _device()))
        codebook, units_N = fit_codebook(
            features_ND,
            self.num_units,
            extractor=repr(self.extractor),
            seed=self.seed,
            max_iterations=self.max_iterations,
            num_inits=self.num_inits,
        )
        codebook.write(folder)
        refused = {"num_utterances": len(read), "num_refused": len(chosen) - len(read)}
        return {**refused, **describe(units_N, read, self.num_units)}

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> SpeechUnitsTokenizer:
        """The tokenizer.  Raises ValueError when the codebook is of another extractor or size."""
        assert vocabulary is not None, "speech units need their fitted codebook"
        codebook = Codebook.read(vocabulary, _device())
        if (codebook.extractor, codebook.num_units) != (repr(self.extractor), self.num_units):
            raise ValueError(
                f"{vocabulary}: the codebook has {codebook.num_units} units of "
                f"{codebook.extractor}, but {self.num_units} units of {self.extractor!r} are "
                "needed; fit the vocabulary again"
            )
        return SpeechUnitsTokenizer(self, self.extractor.load(places, _device()), codebook)


def _features(utterances: Sequence[Utterance], waveform: Waveform, encoder: Encoder) -> np.ndarray:
    """float32 (N, D): the frames of all utterances, one after the other."""
    ends = np.cumsum([frame_count(u.num_samples) for u in utterances], dtype=np.int64)
    features_ND = np.empty((ends[-1] if len(ends) else 0, encoder.dim), dtype=np.float32)
    for utterance, end in zip(utterances, ends, strict=True):
        features_UD = encoder.encode(waveform(utterance)).cpu().numpy()
        if not np.isfinite(features_UD).all():
            raise ValueError(f"{utterance.id}: the encoder's features are not finite; its audio?")
        features_ND[end - len(features_UD) : end] = features_UD
    return features_ND


def describe(
    units_N: np.ndarray, utterances: Sequence[Utterance], num_units: int
) -> dict[str, object]:
    """The quality of units, a JSON-ready summary; phones without stress, where aligned."""
    sizes = np.array([frame_count(u.num_samples) for u in utterances])
    used = usage(units_N, num_units)
    summary: dict[str, object] = {
        "num_units": num_units,
        "num_frames": len(units_N),
        "usage_entropy": used.entropy,
        "unused_share": used.unused_share,
        "changes_per_frame": changes_per_frame(units_N, np.cumsum(sizes) - sizes),
    }
    speakers_N = np.repeat(np.array([u.speaker for u in utterances]), sizes)
    summary["speaker_nmi"] = dependence(units_N, speakers_N).normalized_information
    if all(u.phones for u in utterances):
        phones = [_frame_phones(u) for u in utterances]
        of_phones = dependence(units_N, np.concatenate(phones))
        summary["pnmi"] = of_phones.normalized_information
        summary["phone_purity"] = of_phones.purity
    return summary


def _frame_phones(utterance: Utterance) -> np.ndarray:
    """The phone of each frame, without stress."""
    labels = labels_at_50_hz(utterance.phones, utterance.ends, utterance.num_samples)
    return np.array(without_stress(labels))
