"""Speech-Whisper: units of Whisper tiny.en's third encoder block, the laptop's speech modality.

Not the paper's units: another encoder, trained on transcripts, 500 units instead of 2048.
"""

from ray_slm.modalities.modality import Modality
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.units.whisper import WhisperBlock

STREAM = SpeechUnits(extractor=WhisperBlock(block=3), num_units=500, sample_minutes=60)
MODALITY = Modality(name="speech-whisper", stream=STREAM, nominal_tokens_per_second=50.0)
