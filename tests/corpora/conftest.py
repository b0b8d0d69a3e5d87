from pathlib import Path

import pytest

from ray_slm.corpora.corpus import prepare_all
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.corpora.libriheavy_shape import Shape, build

TINY = LaptopCorpus(train_hours=0.03, dev_minutes=0.5, num_shards=1)


@pytest.fixture(scope="session")
def shape(places, tmp_path_factory) -> Shape:
    """Two minutes of synthetic speech in the shape of Libriheavy, aligned in every format."""
    folder: Path = tmp_path_factory.mktemp("shape")
    prepare_all(TINY, folder / "laptop", places)
    return build(folder / "laptop", folder / "shape")
