"""Real tokens for the training benchmarks: novels read by the quickest voice, in five modalities.

Speech-Whisper is left out: its utterances are exactly as long as Phone-Repeat's.
"""

from dataclasses import replace
from pathlib import Path

from ray_slm import launch
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import Store
from ray_slm.stages import local
from ray_slm.stages.site import Site
from ray_slm.studies import laptop
from ray_slm.study import Study
from ray_slm.tokens import TokenStore

MODALITIES = ("text-bpe", "text-raw", "phone-bpe", "phone-raw", "phone-repeat")


def study(hours: float) -> Study:
    """The laptop study over ``hours`` of the quickest voice."""
    corpus = LaptopCorpus(train_hours=hours, dev_minutes=2.0, voices=("kal16",), num_shards=4)
    kept = tuple(m for m in laptop.STUDY.modalities if m.name in MODALITIES)
    return replace(laptop.STUDY, name="benchmark", contrasts=(), corpus=corpus, modalities=kept)


def tokenized(root: Path, hours: float) -> dict[str, tuple[TokenStore, TokenStore]]:
    """(train, dev) of each modality; what ``root`` holds already is not made again."""
    site = Site(Store(root.resolve()), launch.places(()))
    stores = {}
    for stage in plan(study(hours)):
        kind, *rest = stage.name.split("/")
        if kind not in ("corpus", "vocabulary") and rest[-1] != "laptop":
            continue
        if not site.store.has(stage.address):
            local.execute(stage, site)
        if kind == "tokens":
            folder = site.store.path(stage.address)
            opened = (TokenStore.open(folder, split) for split in ("train", "dev"))
            stores[rest[0]] = tuple(opened)
    return stores
