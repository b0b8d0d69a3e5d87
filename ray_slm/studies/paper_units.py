"""{dedup x K x layer} on HuBERT-Large at the paper's corpus: what its factor C is confounded with.

Layers in use elsewhere are 9 to 21; the paper states none.  The budget is a tenth of the paper's.
Of each layer and K the audio is encoded once, for both forms.
"""

from dataclasses import replace

from ray_slm.modalities import phone_raw, phone_repeat, speech_hubert
from ray_slm.studies import paper, units
from ray_slm.study import Study
from ray_slm.units.hubert import HubertLayer

LAYERS = (9, 12, 18, 20)
NUMS_OF_UNITS = (80, 256, 500, 2048)
RUNS_PER_SECOND = 30.0  # an estimate: it places checkpoints, no more


def _layer(layer: int) -> HubertLayer:
    extractor = speech_hubert.STREAM.extractor
    assert isinstance(extractor, HubertLayer)
    return replace(extractor, layer=layer)


GRID = tuple(
    modality
    for layer in LAYERS
    for num_units in NUMS_OF_UNITS
    for modality in units.pair(
        f"hubert-l{layer}-k{num_units}",
        replace(speech_hubert.STREAM, extractor=_layer(layer), num_units=num_units),
        RUNS_PER_SECOND,
    )
)

STUDY: Study = replace(
    paper.STUDY,
    name="paper_units",
    question=units.STUDY.question,
    modalities=(phone_raw.MODALITY, phone_repeat.MODALITY, *GRID),
    contrasts=units.contrasts(GRID),
    checkpoint_hours=(0.0, 1_000.0, 4_300.0),
    continuation=None,
)
