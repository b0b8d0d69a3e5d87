"""Speech-HuBERT: units of HuBERT-Large, the paper's speech modality (section 3), no dedup.

Layer, sample and checkpoint are not stated there; layer 20 and 2048 units are the usual choice.
Pin the weights first: ``dataclasses.replace`` the extractor with the sha256 of your copy.
"""

from ray_slm.modalities.modality import Modality
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.units.hubert import HubertLayer

STREAM = SpeechUnits(
    extractor=HubertLayer(checkpoint="hubert-large-ll60k", layer=20),
    num_units=2048,
    sample_minutes=1_200,
)
MODALITY = Modality(name="speech-hubert", stream=STREAM, nominal_tokens_per_second=50.0)
