"""Prices and rates out of their dated files, as values that the estimate reads.

Both files are data: a user copies one, mends it and passes the copy.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PRICES, RATES = HERE / "prices.toml", HERE / "rates.toml"
CPU = "CPU"  # the accelerator of a machine that has none


class Instance(NamedTuple):
    """A machine one can rent: dollars an hour, on demand and as spot."""

    accelerator: str
    gpus: int
    cpus: int
    on_demand: float
    spot: float


class Accelerator(NamedTuple):
    """How fast one device, or one core, works.  FLOP/s, shares of them, bytes/s, seconds a step."""

    peak: float
    train_share: float
    score_share: float
    encode_share: float
    memory: float
    link: float
    step: float
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalog:
    """All that the two files say."""

    dated: str
    region: str
    spot_source: str
    instances: Mapping[str, Instance]
    object_gb_month: float
    disk_gb_month: float
    accelerators: Mapping[str, Accelerator]
    encoder_flops: Mapping[str, float]
    core: Mapping[str, float]
    stage: Mapping[str, float]
    cluster: Mapping[str, float]
    continuation: Mapping[str, float]


def read_catalog(prices: Path = PRICES, rates: Path = RATES) -> Catalog:
    """Both files.  Raises ValueError naming the file and what is wrong in it."""
    money, speed = _read(prices), _read(rates)
    instances = _rows(money, "instances", prices, Instance, {"accelerator": CPU, "gpus": 0})
    accelerators = _rows(speed, "accelerators", rates, Accelerator, {})
    unknown = sorted({i.accelerator for i in instances.values()} - accelerators.keys())
    if unknown:
        raise ValueError(f"{prices}: {rates.name} has no accelerator {', '.join(unknown)}: add it")
    try:
        return Catalog(
            dated=money["dated"],
            region=money["region"],
            spot_source=money["spot_source"],
            instances=instances,
            object_gb_month=money["storage"]["object"],
            disk_gb_month=money["storage"]["disk"],
            accelerators=accelerators,
            encoder_flops=speed["encoders"],
            core=speed["core"],
            stage=speed["stage"],
            cluster=speed["cluster"],
            continuation=speed["continuation"],
        )
    except KeyError as error:
        raise ValueError(f"{prices} or {rates}: {error} is missing") from None


def _read(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file of prices or rates") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None


def _rows(tables: dict, name: str, path: Path, kind: Any, defaults: dict) -> dict:
    """A table of tables as named tuples, every field positive."""
    rows = {}
    for key, row in tables.get(name, {}).items():
        fields = defaults | row
        if set(fields) != set(kind._fields):
            odd = ", ".join(sorted(set(fields) ^ set(kind._fields)))
            raise ValueError(f"{path}: [{name}.{key}] lacks or does not know: {odd}")
        bad = [f for f, v in fields.items() if isinstance(v, int | float) and v < 0]
        if bad:
            raise ValueError(f"{path}: [{name}.{key}] {bad[0]} is {fields[bad[0]]}: use 0 or more")
        rows[key] = kind(**fields)
    return rows
