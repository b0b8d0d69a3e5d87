"""The smoke study: the laptop study with everything cut down, for tests of the machinery."""

from dataclasses import replace

from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.modalities import phone_bpe, speech_whisper, text_bpe
from ray_slm.modalities.modality import Stream
from ray_slm.studies import laptop
from ray_slm.study import Study
from ray_slm.tasks.sblimp import Sblimp
from ray_slm.tasks.swuggy import Swuggy
from ray_slm.tasks.topic_story_cloze import TopicStoryCloze
from ray_slm.training.scale import Batching


def _cut(study: Study) -> Study:
    small: dict[str, Stream] = {
        "text-bpe": text_bpe.TextBpe(vocab_size=160),
        "phone-bpe": phone_bpe.PhoneBpe(vocab_size=160),
        "speech-whisper": replace(speech_whisper.STREAM, num_units=32),
    }
    return replace(
        study,
        name="smoke",
        notice="A smoke test: minutes of speech and models too small to learn anything.",
        corpus=LaptopCorpus(train_hours=0.07, dev_minutes=0.5, num_shards=3),
        modalities=tuple(replace(m, stream=small.get(m.name, m.stream)) for m in study.modalities),
        scale=replace(study.scale, name="smoke", layers=2),
        batching=Batching(utterances_per_step=8),
        checkpoint_hours=(0.0, 0.02, 0.05),
        tasks=(
            Swuggy(num_pairs=6, min_count=1),
            Sblimp(num_pairs_per_phenomenon=1, min_count=1, min_words=1, min_phenomena=1),
            TopicStoryCloze(num_pairs=2),
        ),
        item_voices=("kal16", "slt"),
        item_shards=1,
        continuation=None,  # recognizer and judge take longer to load than all else to run
        train_cpus=0.3,
    )


STUDY = _cut(laptop.STUDY)
