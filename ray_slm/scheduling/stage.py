"""A stage: one recipe, the artifacts it reads, and the address where its result lives.

The address is a name for people and a fingerprint for the store; the fingerprint covers the
recipe and everything upstream, never the name, the demand or a path.
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property

from ray_slm.scheduling.identity import canonical, fingerprint_of_canonical


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand:
    """What a stage asks of the cluster for each of its workers.  Never part of its identity.

    ``priority`` orders stages that are ready at once: the higher starts first.  With
    ``least_workers`` a run starts with so many and changes their number as the cluster does.
    ``microbatch_tokens``, ``compiled`` and ``recompute`` are those of ``training.world.World``.
    """

    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    priority: float = 0.0
    least_workers: int | None = None
    microbatch_tokens: int | None = None
    compiled: bool = False
    recompute: bool = False


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A stage's result, or a named part of it that has a record of its own (a checkpoint)."""

    stage: "Stage"
    part: str = ""

    @property
    def address(self) -> str:
        """Where the result lies in the store."""
        return f"{self.stage.address}/{self.part}" if self.part else self.stage.address


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A recipe applied to inputs, by role.  ``tokens`` and ``flops`` are estimates for `plan`."""

    name: str
    recipe: object
    inputs: Mapping[str, Artifact] = dataclasses.field(default_factory=dict)
    demand: Demand = dataclasses.field(default_factory=Demand)
    tokens: int = 0
    flops: float = 0.0

    @cached_property
    def identity(self) -> object:
        """The canonical value that is hashed, kept in the record so that `why` can compare."""
        upstream = {
            role: (artifact.stage.fingerprint, artifact.part)
            for role, artifact in self.inputs.items()
        }
        return canonical({"recipe": self.recipe, "inputs": upstream}, where=self.name)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits naming what this stage is."""
        return fingerprint_of_canonical(self.identity)

    @property
    def address(self) -> str:
        """``<readable name>/<fingerprint>``."""
        return f"{self.name}/{self.fingerprint}"

    def __getitem__(self, part: str) -> Artifact:
        return Artifact(self, part)
