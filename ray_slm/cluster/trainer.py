"""TorchTrainer without the actors that a run here never asks anything.

Ray Train starts five processes for a run of one worker, each some two processor seconds.  No
dataset is handed over, because trainers read memory-mapped shards; and a cluster that ends with
its driver leaves no placement group behind to clean.
"""

from typing import ClassVar

from ray.train.torch import TorchTrainer


class LeanTorchTrainer(TorchTrainer):  # type: ignore[misc]
    """Without the actor that hands out Ray Data shards.

    Where Ray renames what is left out by name here, its own behavior comes back.
    """

    left_out: ClassVar[tuple[str, ...]] = ("DatasetsCallback",)

    def _create_default_callbacks(self) -> list:
        every = super()._create_default_callbacks()
        return [callback for callback in every if type(callback).__name__ not in self.left_out]


class OwnClusterTrainer(LeanTorchTrainer):
    """On a cluster that ends with the driver: also without the cleaner of placement groups."""

    left_out: ClassVar[tuple[str, ...]] = ("DatasetsCallback", "PlacementGroupCleanerCallback")
