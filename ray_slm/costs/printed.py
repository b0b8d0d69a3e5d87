"""The estimate for people and for programs, and the body of ``plan --cluster``."""

import json
from pathlib import Path

from ray_slm.costs import gantt
from ray_slm.costs.catalog import PRICES, read_catalog
from ray_slm.costs.clusters import read_cluster
from ray_slm.costs.estimate import Estimate, estimate
from ray_slm.scheduling.plan import plan
from ray_slm.study import Study
from ray_slm.terminal import terminal_width


def show_costs(
    study: Study, cluster: Path, *, prices: Path | None, picture: Path | None, as_json: bool
) -> None:
    """Print what the study costs on the cluster of a launcher file; draw it if asked."""
    catalog = read_catalog(prices or PRICES)
    found = estimate(study, plan(study), read_cluster(cluster, catalog), catalog)
    if picture is not None:
        picture.write_text(gantt.svg(found.timeline, f"{study.name}: {_summary(found)}"))
    print(json.dumps(as_row(found), indent=1) if as_json else as_text(study, found))


def as_row(found: Estimate) -> dict[str, object]:
    """JSON-ready; times in hours, money in dollars, sizes in GB."""
    fields = found._asdict()
    del fields["timeline"]
    return fields | {"rows": [row._asdict() for row in found.rows]}


def as_text(study: Study, found: Estimate) -> str:
    """A table by modality, the sums, the schedule, and what all this rests on."""
    head = f"{'':<16}{'tokens':>9}{'FLOPs':>10}{'GPU h':>9}{'CPU h':>9}{'longest':>10}"
    lines = [f"{head}{'on demand':>12}{'spot':>11}{'stored':>11}"]
    for row in found.rows:
        lines.append(
            f"{row.modality:<16}{_billions(row.tokens):>9}{row.flops:>10.1e}{row.gpu_hours:>9,.1f}"
            f"{row.cpu_hours:>9,.1f}{gantt.span_text(row.train_hours * 3600):>10}"
            f"{_dollars(row.on_demand):>12}{_dollars(row.spot):>11}{row.stored_gb:>8,.1f} GB"
        )
    lines += [
        "",
        f"{study.name}: {_summary(found)}",
        f"dollars: {_dollars(found.on_demand)} on demand, {_dollars(found.spot)} on spot, "
        f"{_dollars(found.as_asked)} as the cluster file asks; storage "
        f"{_dollars(found.storage_month)} a month for {found.stored_gb:,.0f} GB kept, "
        f"{found.scratch_gb:,.0f} GB more at most while training",
        f"GPUs at work {found.gpu_hours:,.1f} h of {found.paid_gpu_hours:,.1f} h paid",
        "",
        gantt.text(found.timeline, terminal_width()),
        "",
        f"prices of {found.dated} (planning figures: look yours up, pass --prices)",
        f"  spot: {found.spot_source}",
        "speed:",
        *(f"  {source}" for source in found.sources),
    ]
    return "\n".join(lines)


def _summary(found: Estimate) -> str:
    return (
        f"{gantt.span_text(found.wall_hours * 3600)} from start to report, "
        f"{found.gpu_hours:,.0f} GPU-hours"
    )


def _billions(tokens: int) -> str:
    if not tokens:
        return ""
    return f"{tokens / 1e9:.2f}B" if tokens >= 1e8 else f"{tokens / 1e6:.2f}M"


def _dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 100 else f"${amount:,.2f}"
