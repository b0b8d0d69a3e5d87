"""Frames of pairs, item scores and decisions for the tests of this folder."""

import numpy as np
import pandas as pd

from ray_slm.evaluation.clusters import Panel

VOICES = ("slt", "rms")


def pairs_frame(num_pairs: int = 6, num_clusters: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"word.{i:03d}" for i in range(num_pairs)],
            "type": "lexical",
            "subtype": [f"sub{i % 2}" for i in range(num_pairs)],
            "cluster": [f"cluster{i % num_clusters}" for i in range(num_pairs)],
            "positive": "a",
            "negative": "b",
            "band": ["1-5" if i % 2 else "oov" for i in range(num_pairs)],
        }
    )


def scores_frame(
    pairs: pd.DataFrame, seed: int = 0, voices: tuple[str, ...] = VOICES, num_layers: int = 2
) -> pd.DataFrame:
    """A score for every item, voice and layer, in a fixed order."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "utterance": f"{pair}.{side}.{voice}",
            "layer": layer,
            "logp_sum": -rng.uniform(5, 50),
            "logp_first": -rng.uniform(1, 4),
            "logp_eos": -rng.uniform(1, 4),
            "num_tokens": int(rng.integers(3, 12)),
            "seconds": float(rng.uniform(0.5, 2)),
        }
        for pair in pairs["id"]
        for side in ("positive", "negative")
        for voice in voices
        for layer in range(num_layers + 1)
    ]
    return pd.DataFrame(rows).astype({"layer": "int32", "num_tokens": "int32"})


def decisions(
    modality: str,
    accuracy: float,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    tokens: tuple[int, ...] = (1000,),
    task: str = "sblimp",
    num_pairs: int = 300,
    num_clusters: int = 30,
    draw: int = 0,
) -> pd.DataFrame:
    """Decisions of one modality on one task: final layer 2, layer 0 at chance, two conventions."""
    rng = np.random.default_rng([draw, len(modality)])
    frames = []
    for seed in seeds:
        for budget in tokens:
            for layer, convention, level in (
                (2, "mean", accuracy),
                (2, "sum", 0.6),
                (0, "mean", 0.5),
            ):
                number = np.arange(num_pairs)
                frames.append(
                    pd.DataFrame(
                        {
                            "modality": modality,
                            "seed": seed,
                            "tokens": budget,
                            "task": task,
                            "pair": [f"p{i:04d}" for i in number],
                            "cluster": [f"c{i % num_clusters}" for i in number],
                            "type": "t",
                            "subtype": [f"s{i % 3}" for i in number],
                            "band": "",
                            "layer": layer,
                            "convention": convention,
                            "correct": (rng.random(num_pairs) < level).astype(float),
                        }
                    )
                )
    return pd.concat(frames, ignore_index=True)


def panel_of(correct_SP: np.ndarray, clusters_P: np.ndarray | None = None) -> Panel:
    """The panel of decisions (S, P); every pair its own cluster unless told."""
    correct_SP = np.atleast_2d(np.asarray(correct_SP, dtype=float))
    codes = np.arange(correct_SP.shape[1]) if clusters_P is None else np.asarray(clusters_P)
    return Panel(
        np.stack([np.bincount(codes, row) for row in correct_SP]), np.bincount(codes) * 1.0
    )


def exactly(accuracy: float, num_pairs: int = 1000) -> np.ndarray:
    """Decisions of one seed whose mean is the accuracy, the right ones first."""
    return (np.arange(num_pairs) < round(accuracy * num_pairs)).astype(float)
