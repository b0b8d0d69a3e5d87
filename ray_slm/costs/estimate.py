"""What a study costs on a cluster: the schedule on paper, added up by modality and in sum.

Refuses by the same rule as a run does, before anything is started.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ray_slm import errors
from ray_slm.costs.catalog import Catalog
from ray_slm.costs.clusters import Cluster, Group
from ray_slm.costs.timeline import Rental, Timeline, simulate
from ray_slm.costs.work import Job, job, resume_bytes
from ray_slm.scheduling.capacity import Nodes, impossible
from ray_slm.scheduling.stage import Stage
from ray_slm.study import Study

SHARED = "all modalities"
GB = 1e9


class Row(NamedTuple):
    """One modality's share.  Hours are of devices at work; dollars are its share of the nodes'.

    ``cpu_hours`` are of work without GPUs.  ``train_hours`` is the wall time of its longest run.
    """

    modality: str
    tokens: int
    flops: float
    gpu_hours: float
    cpu_hours: float
    train_hours: float
    on_demand: float
    spot: float
    stored_gb: float


class Estimate(NamedTuple):
    """The plan in figures.  Dollars: all nodes on demand, all as spot, and as the file asks."""

    rows: tuple[Row, ...]
    gpu_hours: float  # of GPUs at work
    paid_gpu_hours: float  # of GPUs rented, boot and idle included
    wall_hours: float
    on_demand: float
    spot: float
    as_asked: float
    stored_gb: float
    scratch_gb: float  # resume checkpoints, at most, while training runs
    storage_month: float  # dollars for a month of what is kept
    timeline: Timeline
    dated: str
    spot_source: str
    sources: tuple[str, ...]


def refuse_impossible(stages: Sequence[Stage], cluster: Cluster) -> None:
    """Raise ResourceError naming every kind of stage that the cluster can never hold."""
    nodes = [
        Nodes(g.name, g.cpus, g.gpus, min(g.high, cluster.max_workers)) for g in cluster.groups
    ]
    found = [problem for stage in stages if (problem := impossible(stage, nodes)) is not None]
    if found:
        more = f" (and {len(found) - 1} more stages)" if len(found) > 1 else ""
        raise errors.ResourceError(found[0] + more)


def estimate(study: Study, stages: Sequence[Stage], cluster: Cluster, catalog: Catalog) -> Estimate:
    """Price the stages.  Raises ResourceError for a demand that never fits."""
    refuse_impossible(stages, cluster)
    jobs = {stage.address: job(stage, study, catalog) for stage in stages}
    boot, goodput = catalog.cluster["boot_seconds"], catalog.cluster["spot_goodput"]

    def seconds(work: Job, group: Group) -> float:
        return work.seconds_on(group.accelerator) / (goodput if group.is_spot else 1.0)

    timeline = simulate(jobs, cluster, seconds, boot)
    rentals = [*timeline.rentals, Rental(cluster.head, 0.0, timeline.end)]
    stored = sum(work.stored_bytes for work in jobs.values()) / GB
    rows = _rows(study, list(jobs.values()), timeline, rentals)
    return Estimate(
        rows=tuple(rows),
        gpu_hours=sum(row.gpu_hours for row in rows),
        paid_gpu_hours=sum(_hours(r) * r.group.gpus for r in rentals),
        wall_hours=timeline.end / 3600,
        on_demand=sum(_hours(r) * r.group.on_demand for r in rentals),
        spot=sum(
            _hours(r) * (r.group.on_demand if r.group is cluster.head else r.group.spot)
            for r in rentals
        ),
        as_asked=sum(_hours(r) * r.group.price for r in rentals),
        stored_gb=stored,
        scratch_gb=_most_scratch(timeline) / GB,
        storage_month=stored * catalog.object_gb_month,
        timeline=timeline,
        dated=catalog.dated,
        spot_source=catalog.spot_source,
        sources=_sources(cluster, catalog),
    )


def _most_scratch(timeline: Timeline) -> float:
    """Bytes of resume checkpoints at the busiest moment; they go when their run ends."""
    spans = [(s.start, s.end, resume_bytes(s.job.stage)) for s in timeline.spans]
    return max(
        (sum(b for start, end, b in spans if start <= at < end) for at, *_ in spans), default=0.0
    )


def _hours(rental: Rental) -> float:
    return (rental.end - rental.start) / 3600


def _sources(cluster: Cluster, catalog: Catalog) -> tuple[str, ...]:
    names = dict.fromkeys(group.accelerator for group in cluster.groups)
    return tuple(f"{name}: {catalog.accelerators[name].source}" for name in names)


def modality_of(stage: Stage, study: Study) -> str:
    """The modality that a stage is for, or SHARED."""
    parts = stage.name.split("/")
    names = [m.name for m in study.modalities]
    return parts[1] if len(parts) > 1 and parts[1] in names else SHARED


def _rows(
    study: Study, jobs: Sequence[Job], timeline: Timeline, rentals: Sequence[Rental]
) -> list[Row]:
    """Dollars of all nodes, the head's too, are shared out by the price of the work done."""
    paid = sum(_hours(r) * r.group.on_demand for r in rentals)
    paid_spot = sum(_hours(r) * r.group.spot for r in rentals)
    weights = {
        name: _weight(study, name, timeline, rentals)
        for name in [*(m.name for m in study.modalities), SHARED]
    }
    total = sum(weights.values()) or 1.0
    rows = []
    for name, weight in weights.items():
        mine = [s for s in timeline.spans if modality_of(s.job.stage, study) == name]
        own = [work for work in jobs if modality_of(work.stage, study) == name]
        device_hours = [
            ((s.end - s.start) / 3600 * s.job.workers, s.job.gpus, s.job.cpus) for s in mine
        ]
        trainings = [s.end - s.start for s in mine if s.job.stage.tokens]
        rows.append(
            Row(
                modality=name,
                tokens=sum(work.stage.tokens for work in own),
                flops=sum(work.stage.flops for work in own),
                gpu_hours=sum(hours * gpus for hours, gpus, _ in device_hours),
                cpu_hours=sum(hours * cpus for hours, gpus, cpus in device_hours if not gpus),
                train_hours=max(trainings, default=0.0) / 3600,
                on_demand=paid * weight / total,
                spot=paid_spot * weight / total,
                stored_gb=sum(work.stored_bytes for work in own) / GB,
            )
        )
    return rows


def _weight(study: Study, name: str, timeline: Timeline, rentals: Sequence[Rental]) -> float:
    """Dollars' worth of device time; on one's own machines, the device time."""
    groups = {rental.group.name: rental.group for rental in rentals}
    weight = 0.0
    for span in timeline.spans:
        if modality_of(span.job.stage, study) == name:
            group = groups[span.group]
            share = (
                span.job.gpus / group.gpus if span.job.gpus else span.job.cpus / group.cpus
            ) * span.job.workers
            weight += share * (span.end - span.start) * (group.on_demand or 1.0)
    return weight
