"""Gather continuations for the report: every sample's figures, and the sound of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ray_slm import parquet
from ray_slm.evaluation.generation_tables import log_perplexity
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import results
from ray_slm.stages.continuation import SAMPLES, audio_file
from ray_slm.stages.prompts import read_prompts


class Continued(NamedTuple):
    """Prompts, samples of all modalities, and MP3 by the names in their ``audio`` columns."""

    prompts: pd.DataFrame
    samples: pd.DataFrame
    clips: dict[str, bytes]


def continued(report: Stage, store: Store) -> Continued:
    """What exists of the prompts and their continuations; empty frames where there is none."""
    clips: dict[str, bytes] = {}
    prompts, samples = pd.DataFrame(), []
    for _, stage in results.done(report, "prompts", store):
        folder = store.path(stage.address)
        prompts = read_prompts(folder)
        prompts["perplexity"] = np.exp(log_perplexity(prompts))
        prompts["written_perplexity"] = np.exp(log_perplexity(prompts, "written_"))
        for column, part in (("audio", "prompt"), ("rest_audio", "rest")):
            files = [f"audio/{name}.{part}.mp3" for name in prompts["prompt"]]
            prompts[column] = [_clip(folder, file, part, clips) for file in files]
    for (_, modality, seed, tokens, _), stage in results.done(report, "continue", store):
        folder = store.path(stage.address)
        frame = parquet.read_frame(folder / SAMPLES)
        keys = zip(frame["prompt"], frame["kind"], frame["sample"], strict=True)
        frame["audio"] = [_clip(folder, audio_file(*key), modality + seed, clips) for key in keys]
        frame["perplexity"] = np.exp(log_perplexity(frame))
        frame["modality"], frame["seed"] = modality, int(seed.removeprefix("seed-"))
        samples.append(frame.assign(tokens=int(tokens)))
    whole = pd.concat(samples, ignore_index=True) if samples else pd.DataFrame()
    return Continued(prompts, whole, clips)


def _clip(folder: Path, file: str, where: str, clips: dict[str, bytes]) -> str:
    """Keep a file's bytes under a name of its own; "" where there is no sound."""
    path = folder / file
    if not path.exists():
        return ""
    name = f"{where}/{path.name}"
    clips[name] = path.read_bytes()
    return name
