"""Speech-HuBERT-BPE: acoustic BPE, the match of Phone-BPE.

As many merges as there (2048), over the 2048 units of Speech-HuBERT without repetition.
"""

from ray_slm.modalities import speech_hubert
from ray_slm.modalities.derived_units import UnitBpe
from ray_slm.modalities.modality import Modality

MODALITY = Modality(
    name="speech-hubert-bpe",
    stream=UnitBpe(source=speech_hubert.STREAM, source_name=speech_hubert.MODALITY.name),
    nominal_tokens_per_second=20.0,
)
