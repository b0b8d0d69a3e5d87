"""The paper's study at its own scale: Libriheavy-large, HuBERT-Large, TinyLlama, 128 utterances.

Where the paper (arXiv 2412.17048) is silent or our choice differs, docs/decisions/0045 says so.
The user brings audio, manifests, alignments and weights as places; `--rehearse` runs the same
study on stand-ins that change scales and nothing else.
"""

from dataclasses import replace

from ray_slm.corpora.alignments.kaldi import KaldiPhones
from ray_slm.corpora.libriheavy import LibriheavyCorpus
from ray_slm.evaluation.contrasts import paper_contrasts
from ray_slm.modalities import (
    phone_bpe,
    phone_raw,
    phone_repeat,
    speech_hubert,
    text_bpe,
    text_raw,
)
from ray_slm.modalities.modality import Stream
from ray_slm.rehearsal import BENCHMARKS, Kit
from ray_slm.study import Study
from ray_slm.tasks.continuation import Continuation, Judge, Transcriber, UnitVocoder
from ray_slm.training.scale import TINYLLAMA, Batching, Optimizer

# The digest in the address of OpenAI's own file.
WHISPER_LARGE_V3 = "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb"

CONTINUATION = Continuation(
    transcriber=Transcriber(checkpoint="whisper-large-v3", sha256=WHISPER_LARGE_V3),
    judge=Judge(name="llama-3.1-8b", sha256=""),
)

STUDY = Study(
    name="paper",
    question="Why are speech language models harder to train than text models?",
    notice=(
        "At the paper's scale, with our own choices where it states none: docs/decisions/0045."
    ),
    corpus=LibriheavyCorpus(alignment=KaldiPhones(digest="", form="per-frame")),
    modalities=(
        text_bpe.MODALITY,
        text_raw.MODALITY,
        phone_bpe.MODALITY,
        phone_raw.MODALITY,
        phone_repeat.MODALITY,
        speech_hubert.MODALITY,
    ),
    scale=TINYLLAMA,
    optimizer=Optimizer(schedule="wsd-branches"),
    batching=Batching(utterances_per_step=128),
    checkpoint_hours=(0.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 43_000.0),
    tasks=BENCHMARKS,
    continuation=CONTINUATION,
    item_voices=("slt",),  # nothing is spoken: the benchmarks have voices of their own
    item_shards=32,
    seeds=(0,),
    precision="bf16",
    contrasts=paper_contrasts(),
    train_workers=8,
    train_cpus=4.0,
    train_gpus=1.0,
    train_compiled=True,
    encode_gpus=1.0,
    evaluate_gpus=0.5,
)


def rehearse(kit: Kit) -> Study:
    """The same study with everything scaled down to the stand-ins of ``kit``."""
    small = _streams(kit)
    return replace(
        STUDY,
        name="paper-rehearsal",
        notice="A rehearsal: minutes of synthetic speech, an encoder with random weights.",
        corpus=kit.corpus,
        modalities=tuple(replace(m, stream=small.get(m.name, m.stream)) for m in STUDY.modalities),
        scale=replace(TINYLLAMA, name="rehearsal", layers=2, heads=2, kv_heads=1, width=64, ffn=96),
        batching=Batching(utterances_per_step=8),
        checkpoint_hours=(0.0, 0.02, 0.05),
        tasks=tuple(replace(task, digest=kit.digests[task.name]) for task in BENCHMARKS),
        continuation=_short(CONTINUATION),
        item_shards=1,
        train_workers=1,
        train_cpus=0.3,
        train_gpus=0.0,
        train_compiled=False,
        encode_gpus=0.0,
        evaluate_gpus=0.0,
    )


def _streams(kit: Kit) -> dict[str, Stream]:
    units = replace(
        speech_hubert.STREAM, extractor=kit.extractor, num_units=32, sample_minutes=2, num_inits=1
    )
    return {
        "text-bpe": text_bpe.TextBpe(vocab_size=160),
        "phone-bpe": phone_bpe.PhoneBpe(vocab_size=160),
        "speech-hubert": units,
    }


def _short(continuation: Continuation) -> Continuation:
    return replace(
        continuation,
        num_prompts=2,
        num_samples=1,
        max_seconds=8.0,
        transcriber=Transcriber(),
        judge=Judge(),
        vocoder=UnitVocoder(width=32, layers=2, steps=20, sample_minutes=2.0),
    )
