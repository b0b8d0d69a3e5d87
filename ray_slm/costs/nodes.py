"""A node on paper: what is free on it, and when it can be used."""

import dataclasses
from collections.abc import Sequence

from ray_slm.costs.clusters import Group
from ray_slm.costs.work import Job
from ray_slm.scheduling.capacity import Nodes, workers_on


@dataclasses.dataclass(eq=False)
class Node:
    """``cpus`` and ``gpus`` are free ones; times are seconds from the study's beginning."""

    group: Group
    asked_at: float
    ready_at: float
    cpus: float
    gpus: float
    idle_since: float

    def takes(self, job: Job) -> int:
        """Workers of the job that fit beside what runs."""
        return workers_on(Nodes("", self.cpus, self.gpus, 1), job.cpus, job.gpus)

    def give(self, job: Job, workers: int) -> None:
        """Take (or, with a negative number, return) the room of workers."""
        self.cpus -= workers * job.cpus
        self.gpus -= workers * job.gpus


def shape(group: Group) -> Nodes:
    """The group as capacity."""
    return Nodes(group.name, group.cpus, group.gpus, group.high)


def seat(job: Job, nodes: Sequence[Node], most: int) -> int:
    """Seat up to ``most`` workers; returns how many found room."""
    seated = 0
    for node in nodes:
        take = min(node.takes(job), most - seated)
        if take > 0:
            node.give(job, take)
            seated += take
    return seated
