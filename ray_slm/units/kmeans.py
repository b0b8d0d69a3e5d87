"""The codebook: z-scored features to the nearest of K centroids.

Scaling is part of it, because a few dimensions of Whisper's are tens of times wider than the
rest.  Assignment is float32 matrix products with ties to the lowest unit, one utterance at a
time, so a frame's unit never depends on who else is in the batch.
Legend: N frames of the sample, U frames of an utterance, D width, K units.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ray_slm.units.quality import usage

if TYPE_CHECKING:
    import torch

FILE = "codebook.safetensors"
ARRAYS = ("centroids", "mean", "deviation")
BATCH_FRAMES = 10_000  # as fairseq's simple_kmeans
ASSIGN_FRAMES = 4_096  # bounds the (frames, K) scores; longer than any utterance of the corpora
MIN_DEVIATION = 1e-5
MAX_UNUSED_SHARE = 0.1
MIN_USAGE_ENTROPY = 0.7


class Fitted(NamedTuple):
    """A codebook and the units (N,) of the frames it was fitted on."""

    codebook: "Codebook"
    units_N: np.ndarray


def fit_codebook(
    features_ND: np.ndarray,
    num_units: int,
    *,
    extractor: str,
    seed: int,
    max_iterations: int,
    num_inits: int,
) -> Fitted:
    """Fit K centroids with scikit-learn's MiniBatchKMeans.  ``features_ND`` is scaled in place.

    One thread, so that sums are in one order.  Raises ValueError when the frames are fewer than
    the units, or when the codebook is collapsed.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if len(features_ND) < num_units:
        raise ValueError(
            f"{num_units} units cannot be fitted on {len(features_ND)} frames; raise "
            "sample_minutes or lower num_units"
        )
    mean_D, deviation_D = _scale(features_ND)
    kmeans = MiniBatchKMeans(
        num_units,
        batch_size=BATCH_FRAMES,
        max_iter=max_iterations,
        n_init=num_inits,
        random_state=seed,
    )
    with threadpool_limits(1):
        kmeans.fit(features_ND)
    centroids_KD = kmeans.cluster_centers_.astype(np.float32)
    return _checked(Codebook(centroids_KD, mean_D, deviation_D, extractor), features_ND)


def _checked(codebook: "Codebook", scaled_ND: np.ndarray) -> Fitted:
    import torch

    units_N = codebook.nearest(torch.from_numpy(scaled_ND)).numpy()
    refuse_collapsed(units_N, codebook.num_units)
    return Fitted(codebook, units_N)


def _scale(features_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give each dimension mean 0 and deviation 1, in place; returns what they were, (D,) each."""
    mean_D = features_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    features_ND -= mean_D
    deviation_D = np.sqrt(np.einsum("nd,nd->d", features_ND, features_ND) / len(features_ND))
    deviation_D = np.maximum(deviation_D, MIN_DEVIATION).astype(np.float32)
    features_ND /= deviation_D
    return mean_D, deviation_D


def refuse_collapsed(units_N: np.ndarray, num_units: int) -> None:
    """Raise ValueError when much of a codebook is unused, or most frames share a few units."""
    found = usage(units_N, num_units)
    if found.unused_share > MAX_UNUSED_SHARE or found.entropy < MIN_USAGE_ENTROPY:
        raise ValueError(
            f"the codebook is collapsed: of {num_units} units {found.unused_share:.1%} are unused "
            f"(at most {MAX_UNUSED_SHARE:.0%}) and the usage entropy is {found.entropy:.2f} of its "
            f"maximum (at least {MIN_USAGE_ENTROPY}), over {len(units_N)} frames; lower num_units, "
            "raise sample_minutes, or read another layer"
        )


class Codebook:
    """Centroids (K, D) in scaled space, and the scaling (D,).  ``extractor`` is its identity."""

    def __init__(
        self,
        centroids_KD: np.ndarray,
        mean_D: np.ndarray,
        deviation_D: np.ndarray,
        extractor: str,
        device: str = "cpu",
    ) -> None:
        import torch

        self.extractor = extractor
        self.num_units = len(centroids_KD)
        self._arrays = dict(zip(ARRAYS, (centroids_KD, mean_D, deviation_D), strict=True))
        on_device = {name: torch.from_numpy(a).to(device) for name, a in self._arrays.items()}
        self._mean_D, self._deviation_D = on_device["mean"], on_device["deviation"]
        self._centroids_DK = on_device["centroids"].T.contiguous()
        self._half_norm_K = on_device["centroids"].square().sum(dim=1) / 2

    @classmethod
    def read(cls, vocabulary: Path, device: str = "cpu") -> "Codebook":
        """The codebook of a vocabulary's folder."""
        from safetensors import safe_open

        with safe_open(vocabulary / FILE, framework="np") as file:
            extractor = json.loads(file.metadata()["codebook"])["extractor"]
            centroids_KD, mean_D, deviation_D = map(file.get_tensor, ARRAYS)
        return cls(centroids_KD, mean_D, deviation_D, extractor, device)

    def write(self, vocabulary: Path) -> None:
        """Write the one file into a vocabulary's folder; the same codebook gives the same bytes."""
        from safetensors.numpy import save

        vocabulary.mkdir(parents=True, exist_ok=True)
        metadata = {"codebook": json.dumps({"extractor": self.extractor})}  # one key: one order
        (vocabulary / FILE).write_bytes(save(self._arrays, metadata))

    def assign(self, features_UD: "torch.Tensor") -> "torch.Tensor":
        """int64 units (U,) of one utterance's raw features, on the codebook's device."""
        return self.nearest((features_UD - self._mean_D) / self._deviation_D)

    def nearest(self, scaled_UD: "torch.Tensor") -> "torch.Tensor":
        """int64 units (U,) of features that are scaled already, on their device."""
        import torch

        parts = [
            (part_UD @ self._centroids_DK - self._half_norm_K).argmax(dim=1)
            for part_UD in scaled_UD.split(ASSIGN_FRAMES)  # argmax takes the first of equals
        ]
        return torch.cat(parts)
