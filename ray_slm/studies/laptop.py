"""The laptop study: the paper's six modalities, in small, from audio to report on two cores.

Real audio, but synthesized; real language models, but tiny.  It shows that the machinery works
and which way the factors point here; it does not reproduce the paper's numbers.
"""

from dataclasses import replace

from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.evaluation.contrasts import paper_contrasts
from ray_slm.modalities import (
    phone_bpe,
    phone_raw,
    phone_repeat,
    speech_whisper,
    text_bpe,
    text_raw,
)
from ray_slm.study import Study
from ray_slm.tasks.sblimp import Sblimp
from ray_slm.tasks.swuggy import Swuggy
from ray_slm.tasks.topic_story_cloze import TopicStoryCloze
from ray_slm.training.scale import LAPTOP, Batching, Optimizer

NOTICE = (
    "Synthetic speech at laptop scale: four flite voices read public-domain novels, and the "
    "models have about a million parameters. These are not the paper's numbers."
)

STUDY = Study(
    name="laptop",
    question="Why are speech language models harder to train than text models?",
    notice=NOTICE,
    corpus=LaptopCorpus(train_hours=4.5, dev_minutes=12.0),
    modalities=(
        replace(text_bpe.MODALITY, stream=replace(text_bpe.MODALITY.stream, vocab_size=512)),
        text_raw.MODALITY,
        replace(phone_bpe.MODALITY, stream=replace(phone_bpe.MODALITY.stream, vocab_size=512)),
        phone_raw.MODALITY,
        phone_repeat.MODALITY,
        replace(
            speech_whisper.MODALITY,
            stream=replace(speech_whisper.MODALITY.stream, sample_minutes=15, num_inits=1),
        ),
    ),
    scale=LAPTOP,
    optimizer=Optimizer(peak_lr=2e-3),
    batching=Batching(utterances_per_step=16),
    checkpoint_hours=(0.0, 1.0, 2.0, 4.0, 8.0),
    tasks=(
        Swuggy(num_pairs=300),
        Sblimp(num_pairs_per_phenomenon=20),
        TopicStoryCloze(num_pairs=80),
    ),
    item_voices=("slt", "kal16"),
    seeds=(0,),
    precision="bf16",
    contrasts=paper_contrasts("speech-whisper"),
    train_cpus=0.25,
)
