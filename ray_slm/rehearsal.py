"""What a study at paper scale is rehearsed on: a small corpus of the same shape, small weights.

The corpus is the laptop's, written down as Libriheavy and Libri-Light are published, with Kaldi's
alignments; benchmarks are small ones in the published layouts; the encoder is a HuBERT with random
weights.  All come from what `make setup` fetched, once into a folder, and are pinned by digest.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ray_slm.scheduling.folders import write_atomically
from ray_slm.tasks import spoken_tsc, zerospeech_sblimp, zerospeech_swuggy
from ray_slm.units.hubert import HubertLayer

if TYPE_CHECKING:
    from ray_slm.corpora.libriheavy import LibriheavyCorpus

BENCHMARKS = (zerospeech_swuggy.TASK, zerospeech_sblimp.TASK, spoken_tsc.TASK)
ENCODER = "hubert-large-ll60k"
READY = "kit.json"
ALIGNMENT = "per-frame"
LAYER = 2
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    # as the Large models are
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "conv_bias": True,
}


class Kit(NamedTuple):
    """The stand-ins, pinned, and the names under which a run finds them."""

    corpus: "LibriheavyCorpus"
    extractor: HubertLayer
    digests: dict[str, str]  # of the benchmarks, by the task's name
    places: dict[str, Path]


def open_kit(folder: Path, assets: Mapping[str, Path]) -> Kit:
    """The kit in ``folder``, made first where it is not whole: half a minute."""
    from ray_slm.corpora.libriheavy_shape import Shape, shaped_corpus
    from ray_slm.corpora.shape_manifests import FORMS

    ready = folder / READY
    if not ready.is_file():
        _make(folder, assets)
    facts = json.loads(ready.read_text())
    shape = Shape(
        audio=folder / "shape" / "librilight",
        manifests={form: folder / "shape" / form for form in FORMS},
        alignments={ALIGNMENT: folder / "shape" / "alignments" / ALIGNMENT},
        truth=(),
    )
    shaped = shaped_corpus(shape, alignment=ALIGNMENT)
    extractor = HubertLayer(checkpoint=ENCODER, layer=LAYER, sha256=facts["encoder_sha256"])
    benchmarks = {task.place: folder / task.place for task in BENCHMARKS}
    digests = {task.name: task.digest_of(folder / task.place) for task in BENCHMARKS}
    return Kit(
        corpus=shaped.corpus,
        extractor=extractor,
        digests=digests,
        places={**shaped.places, **benchmarks, ENCODER: folder / ENCODER},
    )


def _make(folder: Path, assets: Mapping[str, Path]) -> None:
    from ray_slm.benchmark_shapes import write_stories, write_zerospeech
    from ray_slm.corpora.corpus import prepare_all
    from ray_slm.corpora.laptop import LaptopCorpus
    from ray_slm.corpora.libriheavy_shape import build
    from ray_slm.tasks.sblimp import Sblimp
    from ray_slm.tasks.swuggy import Swuggy
    from ray_slm.tasks.topic_story_cloze import TopicStoryCloze

    spoken = LaptopCorpus(
        train_hours=0.1,
        dev_minutes=5.0,
        voices=("kal16", "slt"),
        num_shards=1,
        dev_books=("northanger-abbey", "persuasion"),
        test_books=(),
        min_words=4,
        max_words=16,  # stories are made of sentences no longer than 18 words
    )
    prepare_all(spoken, folder / "laptop", assets)
    build(folder / "laptop", folder / "shape")
    zerospeech, _, tsc = (folder / task.place for task in BENCHMARKS)
    sentences = Sblimp(num_pairs_per_phenomenon=1, min_count=1, min_words=1, min_phenomena=1)
    words, stories = Swuggy(num_pairs=6, min_count=1), TopicStoryCloze(num_pairs=4)
    write_zerospeech(zerospeech, folder / "laptop", words, sentences, assets)
    write_stories(tsc, folder / "laptop", stories, assets)
    digest = _save_encoder(folder / ENCODER)
    write_atomically(folder / READY, json.dumps({"encoder_sha256": digest}))


def _save_encoder(folder: Path) -> str:
    """Random weights in the published form; returns their sha256."""
    import torch
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    from ray_slm.continuation.judge import quiet

    torch.manual_seed(0)
    with quiet():
        HubertModel(HubertConfig(**_SIZES)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
