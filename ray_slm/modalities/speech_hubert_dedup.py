"""Speech-HuBERT-dedup: runs of equal HuBERT units as one token, the match of Phone-Raw.

The paper's factor C compares Phone-Repeat with units; this is the same step without repetition.
"""

from ray_slm.modalities import speech_hubert
from ray_slm.modalities.derived_units import DedupUnits
from ray_slm.modalities.modality import Modality

MODALITY = Modality(
    name="speech-hubert-dedup",
    stream=DedupUnits(source=speech_hubert.STREAM, source_name=speech_hubert.MODALITY.name),
    nominal_tokens_per_second=33.0,
)
