"""How much of factor C is the choice of units: {dedup x K x layer} on the laptop's corpus.

The paper's step from phones to speech units changes the alphabet's size and the units' quality
too, and its HuBERT result is an outlier among published ones.  Here layer, number of units and
repetition vary one by one, against Phone-Repeat and (for dedup) Phone-Raw.  80 units are as many
as phones.  Units are Whisper's, as in ``laptop``; ``paper_units`` is the grid on HuBERT-Large.
"""

from dataclasses import replace

from ray_slm.evaluation.contrasts import Contrast
from ray_slm.modalities import speech_whisper
from ray_slm.modalities.derived_units import DedupUnits
from ray_slm.modalities.modality import Modality
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.studies import laptop
from ray_slm.study import Study
from ray_slm.units.whisper import WhisperBlock

# Runs per second of each block's units on this corpus; they hardly depend on K.
RUNS_PER_SECOND = {2: 28.0, 3: 22.0, 4: 19.0}
NUMS_OF_UNITS = (80, 256, 500)


def pair(name: str, units: SpeechUnits, runs_per_second: float) -> tuple[Modality, Modality]:
    """Units as they are and without repetition; audio is encoded once for both."""
    runs = DedupUnits(source=units, source_name=name)
    return (
        Modality(name=name, stream=units, nominal_tokens_per_second=50.0),
        Modality(name=f"{name}-dedup", stream=runs, nominal_tokens_per_second=runs_per_second),
    )


def contrasts(modalities: tuple[Modality, ...]) -> tuple[Contrast, ...]:
    """Factor C with every modality of the grid, against the phones that are as long."""
    return tuple(
        Contrast(
            factor="C",
            baseline="phone-raw" if isinstance(m.stream, DedupUnits) else "phone-repeat",
            modality=m.name,
        )
        for m in modalities
    )


GRID = tuple(
    modality
    for block, runs_per_second in RUNS_PER_SECOND.items()
    for num_units in NUMS_OF_UNITS
    for modality in pair(
        f"whisper-b{block}-k{num_units}",
        replace(
            speech_whisper.STREAM,
            extractor=WhisperBlock(block=block),
            num_units=num_units,
            sample_minutes=15,
            num_inits=1,
        ),
        runs_per_second,
    )
)
PHONES = tuple(m for m in laptop.MODALITIES if m.name in ("phone-raw", "phone-repeat"))

STUDY: Study = replace(
    laptop.STUDY,
    name="units",
    question="How much of the loss from phones to speech units is the choice of units?",
    modalities=(*PHONES, *GRID),
    contrasts=contrasts(GRID),
    checkpoint_hours=(0.0, 4.0),
    continuation=None,
)
