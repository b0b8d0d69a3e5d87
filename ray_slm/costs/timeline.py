"""A rehearsal of the schedule on paper: which job runs where and when, and which nodes are paid.

As on the cluster, what is ready goes by priority, a gang starts whole or not at all, nodes are
asked for when nothing free fits, boot for minutes, and leave after being idle.
"""

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from ray_slm.costs.clusters import Cluster, Group
from ray_slm.costs.nodes import Node, seat, shape
from ray_slm.costs.work import Job
from ray_slm.recipes import Train
from ray_slm.scheduling.capacity import workers_on
from ray_slm.scheduling.plan import checkpoint_part, fork_part

Settings = Callable[[Job, Group], float]  # seconds of one task of the job on a node of the group


class Span(NamedTuple):
    """A task of a stage from start to end, in seconds from the beginning of the study."""

    job: Job
    group: str
    start: float
    end: float


class Rental(NamedTuple):
    """A node that was paid for."""

    group: Group
    start: float
    end: float


class Timeline(NamedTuple):
    """The whole schedule."""

    spans: tuple[Span, ...]
    rentals: tuple[Rental, ...]
    end: float


class Simulation:
    """Nodes, and the jobs that wait for them."""

    def __init__(self, cluster: Cluster, seconds: Settings, boot_seconds: float) -> None:
        self._cluster, self._seconds, self._boot = cluster, seconds, boot_seconds
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self._nodes: list[Node] = []
        self._waiting: list[Job] = []  # one entry per task
        self.spans: list[Span] = []
        self.rentals: list[Rental] = []
        self.when_started: Callable[[Span], None] = lambda _span: None
        self.when_done: Callable[[Job], None] = lambda _job: None
        self._left: dict[str, int] = {}
        for group in cluster.groups:
            for _ in range(group.low):
                self._add_node(group)

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._events, (time, next(self._counter), action))

    def add(self, job: Job) -> None:
        """A job whose inputs exist."""
        self._left[job.stage.address] = job.tasks
        self._waiting += [job] * job.tasks
        self._waiting.sort(key=lambda job: -job.stage.demand.priority)

    def run(self) -> Timeline:
        """Until nothing is left to happen."""
        self._place()
        while self._events:
            self._now, _, action = heapq.heappop(self._events)
            action()
            while self._events and self._events[0][0] <= self._now:
                heapq.heappop(self._events)[2]()
            self._place()
        assert not self._waiting, [job.stage.name for job in self._waiting]
        end = max((span.end for span in self.spans), default=0.0)
        for node in self._nodes:  # kept by the group's minimum
            self.rentals.append(Rental(node.group, node.asked_at, max(end, node.ready_at)))
        return Timeline(tuple(self.spans), tuple(self.rentals), end)

    def _place(self) -> None:
        """Start what fits, in order; ask for nodes for the rest."""
        self._release_idle()
        still, refused = [], set()
        for job in self._waiting:
            key = (job.workers, job.cpus, job.gpus)
            chosen = None if key in refused else self._choose(job)
            if chosen is None:
                refused.add(key)
                still.append(job)
            else:
                self._start(job, chosen)
        self._waiting = still
        self._ask(still)

    def _choose(self, job: Job) -> list[tuple[Node, int]] | None:
        """Free nodes and how many workers each gets, or None when the gang does not fit whole."""
        for groups in self._homes(job):
            chosen, left = [], job.workers
            nodes = [n for n in self._nodes if n.ready_at <= self._now and n.group in groups]
            # the fullest first, so that whole nodes stay free for gangs
            for node in sorted(nodes, key=lambda n: n.gpus if job.gpus else n.cpus):
                take = min(node.takes(job), left)
                if take > 0:
                    chosen.append((node, take))
                    left -= take
                if left == 0:
                    return chosen
        return None

    def _homes(self, job: Job) -> list[list[Group]]:
        """Where a gang may sit: in one group, or across all when none is large enough alone."""
        groups = self._preferred(job)
        alone = [
            [g] for g in groups if g.high * workers_on(shape(g), job.cpus, job.gpus) >= job.workers
        ]
        return alone or [groups]

    def _preferred(self, job: Job) -> list[Group]:
        """Groups that can hold it: without GPUs first for what needs none, then by cost."""
        able = [g for g in self._cluster.groups if workers_on(shape(g), job.cpus, job.gpus)]
        return sorted(
            able,
            key=lambda g: (
                g.gpus > 0 and not job.gpus,
                g.price * self._seconds(job, g) / workers_on(shape(g), job.cpus, job.gpus),
            ),
        )

    def _start(self, job: Job, chosen: Sequence[tuple[Node, int]]) -> None:
        end = self._now + max(self._seconds(job, node.group) for node, _ in chosen)
        span = Span(job, chosen[0][0].group.name, self._now, end)
        self.spans.append(span)
        for node, workers in chosen:
            node.give(job, workers)

        def finish() -> None:
            for node, workers in chosen:
                node.give(job, -workers)
                node.idle_since = self._now
            self.at(self._now + self._cluster.idle_seconds, lambda: None)
            self._left[job.stage.address] -= 1
            if not self._left[job.stage.address]:
                self.when_done(job)

        self.at(end, finish)
        self.when_started(span)

    def _ask(self, jobs: Sequence[Job]) -> None:
        """New nodes for jobs that neither free nor booting room holds."""
        booting = [dataclasses.replace(n) for n in self._nodes if n.ready_at > self._now]
        for job in jobs:
            for groups in self._homes(job):
                left = job.workers - seat(
                    job, [n for n in booting if n.group in groups], job.workers
                )
                for group in groups:
                    while left > 0 and self._may_grow(group):
                        booting.append(dataclasses.replace(self._add_node(group)))
                        left -= seat(job, booting[-1:], left)
                if left <= 0:
                    break

    def _may_grow(self, group: Group) -> bool:
        of_group = sum(n.group is group for n in self._nodes)
        return of_group < group.high and len(self._nodes) < self._cluster.max_workers

    def _add_node(self, group: Group) -> Node:
        ready = self._now + self._boot
        node = Node(group, self._now, ready, group.cpus, group.gpus, ready)
        self._nodes.append(node)
        self.at(ready, lambda: None)
        self.at(ready + self._cluster.idle_seconds, lambda: None)
        return node

    def _release_idle(self) -> None:
        """Nodes beyond the group's minimum leave when idle for the cluster's timeout."""
        for node in list(self._nodes):
            empty = math.isclose(node.cpus, node.group.cpus) and math.isclose(
                node.gpus, node.group.gpus
            )
            leaves = max(node.idle_since, node.ready_at) + self._cluster.idle_seconds
            stays = sum(n.group is node.group for n in self._nodes) <= node.group.low
            if empty and leaves <= self._now and not stays:
                self._nodes.remove(node)
                self.rentals.append(Rental(node.group, node.asked_at, leaves))


def simulate(
    jobs: Mapping[str, Job], cluster: Cluster, seconds: Settings, boot_seconds: float
) -> Timeline:
    """Run jobs, by the address of their stage, each when all it reads exists."""
    simulation = Simulation(cluster, seconds, boot_seconds)
    missing = {
        address: {a.address for a in job.stage.inputs.values()} for address, job in jobs.items()
    }

    def publish(address: str) -> None:
        for reader, needs in list(missing.items()):
            needs.discard(address)
            if not needs:
                del missing[reader]
                simulation.add(jobs[reader])

    def started(span: Span) -> None:
        """Checkpoints, and states that branches go on from, appear in mid-run."""
        recipe, stage = span.job.stage.recipe, span.job.stage
        if isinstance(recipe, Train):
            first = recipe.forked_at or 0
            parts = [(count, stage[checkpoint_part(count)]) for count in recipe.checkpoints]
            parts += [(count, stage[fork_part(count)]) for count in recipe.forks]
            for count, part in parts:
                share = (count - first) / (recipe.total_tokens - first)
                at = span.start + share * (span.end - span.start)
                simulation.at(at, partial(publish, part.address))

    simulation.when_started = started
    simulation.when_done = lambda job: publish(job.stage.address)
    for address in [address for address, needs in missing.items() if not needs]:
        del missing[address]
        simulation.add(jobs[address])
    return simulation.run()
