"""The node groups of a Ray cluster launcher file (`ray up`), as far as a plan needs them.

Only ``available_node_types`` and the limits around it are read: what a file says to the cloud is
the launcher's to check.
"""

from pathlib import Path
from typing import NamedTuple

from ray_slm.costs.catalog import CPU, Catalog

DEFAULT_IDLE_MINUTES = 5.0  # Ray's own


class Group(NamedTuple):
    """Nodes of one kind.  ``on_demand`` and ``spot`` are dollars an hour for one node."""

    name: str
    accelerator: str
    cpus: float
    gpus: float
    low: int
    high: int
    is_spot: bool
    on_demand: float
    spot: float

    @property
    def price(self) -> float:
        """Dollars an hour as the file asks for the node."""
        return self.spot if self.is_spot else self.on_demand


class Cluster(NamedTuple):
    """The head, which runs all the time, and the groups that come and go."""

    head: Group
    groups: tuple[Group, ...]
    max_workers: int
    idle_seconds: float


def read_cluster(path: Path, catalog: Catalog) -> Cluster:
    """The cluster of a launcher file.  Raises ValueError naming the file and the group."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"--cluster {path}: there is no such file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    types = content.get("available_node_types") if isinstance(content, dict) else None
    if not isinstance(types, dict) or not types:
        raise ValueError(f"{path}: no available_node_types; is it a file for `ray up`?")
    groups = {name: _group(path, name, node, catalog) for name, node in types.items()}
    name = content.get("head_node_type", next(iter(groups)))
    if name not in groups:
        raise ValueError(f"{path}: head_node_type {name!r} is none of {', '.join(groups)}")
    head = groups[name]
    workers = tuple(g for g in groups.values() if g.name != name and g.high > 0)
    most = int(content.get("max_workers", sum(g.high for g in workers)))
    idle = 60 * float(content.get("idle_timeout_minutes", DEFAULT_IDLE_MINUTES))
    return Cluster(head._replace(low=1, high=1), workers, most, idle)


def _group(path: Path, name: str, node: dict, catalog: Catalog) -> Group:
    config, resources = node.get("node_config") or {}, node.get("resources") or {}
    kind = config.get("InstanceType")
    if kind is not None and kind not in catalog.instances:
        raise ValueError(
            f"{path}: {name} is a {kind}, which the prices of {catalog.dated} do not know; copy "
            "ray_slm/costs/prices.toml, add it and pass --prices"
        )
    if kind is None and "CPU" not in resources:
        raise ValueError(f"{path}: {name} has neither node_config.InstanceType nor resources")
    market = (config.get("InstanceMarketOptions") or {}).get("MarketType")
    found = catalog.instances.get(kind) if kind else None
    gpus = float(resources.get("GPU", found.gpus if found else 0))
    return Group(
        name=name,
        accelerator=found.accelerator if found else _accelerator(path, name, resources, catalog),
        cpus=float(resources.get("CPU", found.cpus if found else 0)),
        gpus=gpus,
        low=int(node.get("min_workers", 0)),
        high=int(node.get("max_workers", 0)),
        is_spot=market == "spot",
        on_demand=found.on_demand if found else 0.0,  # one's own machines
        spot=found.spot if found else 0.0,
    )


def _accelerator(path: Path, name: str, resources: dict, catalog: Catalog) -> str:
    """Of a machine without an instance type: Ray's own label tells, ``accelerator_type:A800``."""
    if not resources.get("GPU"):
        return CPU
    labels = [key.partition(":")[2] for key in resources if key.startswith("accelerator_type:")]
    known = {
        label: next((a for a in catalog.accelerators if a.startswith(label)), None)
        for label in labels
    }
    found = [accelerator for accelerator in known.values() if accelerator]
    if not found:
        raise ValueError(
            f"{path}: {name} has GPUs without an InstanceType; name them in resources, as "
            f'"accelerator_type:A100", one of {", ".join(catalog.accelerators)}'
        )
    return found[0]
