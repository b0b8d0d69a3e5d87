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
from ray_slm.modalities.modality import Modality, Stream
from ray_slm.study import Study
from ray_slm.tasks.continuation import Continuation, UnitVocoder
from ray_slm.tasks.sblimp import Sblimp
from ray_slm.tasks.swuggy import Swuggy
from ray_slm.tasks.topic_story_cloze import TopicStoryCloze
from ray_slm.training.scale import LAPTOP, Batching, Optimizer

NOTICE = (
    "Synthetic speech at laptop scale: four flite voices read public-domain novels, and the "
    "models have about a million parameters. These are not the paper's numbers."
)

_BPE = 512  # pieces: as many as a few hours of speech can fill


def _laptop(modality: Modality, rate: float, stream: Stream | None = None) -> Modality:
    """The modality with this corpus's own token rate, so that hours mean audio in each."""
    stream = modality.stream if stream is None else stream
    return replace(modality, stream=stream, nominal_tokens_per_second=rate)


MODALITIES = (
    _laptop(text_bpe.MODALITY, 6.2, text_bpe.TextBpe(vocab_size=_BPE)),
    _laptop(text_raw.MODALITY, 15.6),
    _laptop(phone_bpe.MODALITY, 5.4, phone_bpe.PhoneBpe(vocab_size=_BPE)),
    _laptop(phone_raw.MODALITY, 10.9),
    _laptop(phone_repeat.MODALITY, 50.0),
    _laptop(
        speech_whisper.MODALITY,
        50.0,
        replace(speech_whisper.STREAM, sample_minutes=15, num_inits=1),
    ),
)

STUDY = Study(
    name="laptop",
    question="Why are speech language models harder to train than text models?",
    notice=NOTICE,
    corpus=LaptopCorpus(train_hours=4.2, dev_minutes=10.0),
    modalities=MODALITIES,
    scale=LAPTOP,
    optimizer=Optimizer(peak_lr=2e-3),
    batching=Batching(utterances_per_step=16),
    checkpoint_hours=(0.0, 1.0, 2.0, 4.0, 8.0),
    tasks=(
        Swuggy(num_pairs=300),
        Sblimp(num_pairs_per_phenomenon=16),
        TopicStoryCloze(num_pairs=60),
    ),
    item_voices=("slt", "kal16"),
    seeds=(0,),
    precision="bf16",
    contrasts=paper_contrasts("speech-whisper"),
    # The paper has 20 prompts x 10 samples, the default; two cores have a minute for it.  At one
    # sample each, as many prompts as that allows: prompts are the evidence.
    continuation=Continuation(
        num_prompts=6, num_samples=1, vocoder=UnitVocoder(steps=400, sample_minutes=20.0)
    ),
    train_cpus=0.25,
)
