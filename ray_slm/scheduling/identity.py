"""Fingerprints: the same recipe gives the same twelve hex digits in every process.

Only values with one canonical spelling are accepted.  A path, a callable, a set, a list, a NaN
or an arbitrary object is refused, because it would fork the identity of a result in silence.
"""

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping


def canonical(value: object, where: str = "recipe") -> object:
    """The JSON value that is hashed.  A dataclass carries its class name and its REVISION.

    Raises TypeError naming the field whose value has no canonical form.
    """
    match value:
        case enum.Enum():
            return canonical(value.value, where)
        case float():
            if not math.isfinite(value):
                raise TypeError(f"{where} is {value}: only finite numbers have an identity")
            return value
        case None | bool() | int() | str():
            return value
        case tuple():
            return [canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"{where} has the key {key!r}: keys must be str")
            return {key: canonical(item, f"{where}.{key}") for key, item in value.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            if not type(value).__dataclass_params__.frozen:  # type: ignore[attr-defined]
                raise TypeError(f"{where} is a {type(value).__name__}, which is not frozen")
            fields = {
                field.name: canonical(getattr(value, field.name), f"{where}.{field.name}")
                for field in dataclasses.fields(value)
            }
            revision = getattr(value, "REVISION", 1)
            return {"kind": type(value).__name__, "revision": revision, **fields}
    raise TypeError(
        f"{where} is a {type(value).__qualname__}, which has no canonical form, so it cannot be "
        f"part of a recipe: {value!r}; use a number, str, Enum, tuple or frozen dataclass, and "
        "hand locations over as places"
    )


def fingerprint(value: object) -> str:
    """Twelve hex digits of the SHA-256 of the canonical JSON of ``value``."""
    return fingerprint_of_canonical(canonical(value))


def fingerprint_of_canonical(value: object) -> str:
    """The fingerprint of a value that is canonical already."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(old: object, new: object, where: str = "") -> list[str]:
    """Which fields differ between two canonical values, as ``path: old -> new`` lines."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        parts = [
            differences(old.get(k, "(absent)"), new.get(k, "(absent)"), f"{where}.{k}".lstrip("."))
            for k in keys
        ]
        return [line for part in parts for line in part]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{where}[{i}]")]
    return [] if old == new else [f"{where}: {_short(old)} -> {_short(new)}"]


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."
