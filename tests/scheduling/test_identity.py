"""Identity: one canonical spelling for each value, and a refusal for all that has none."""

import dataclasses
import enum
import math
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.scheduling.identity import canonical, differences, fingerprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    REVISION: ClassVar[int] = 1
    value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Speed:
    REVISION: ClassVar[int] = 1
    value: float


@dataclasses.dataclass
class Mutable:
    value: int = 0


class Color(enum.Enum):
    RED = "red"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_equal_values_have_equal_fingerprints_and_twelve_hex_digits(value):
    found = fingerprint(value)
    assert found == fingerprint(value)
    assert len(found) == 12
    assert int(found, 16) >= 0


@given(st.dictionaries(st.text(), st.integers(), min_size=2, max_size=5))
def test_the_order_of_keys_is_no_identity(mapping):
    backwards = dict(reversed(list(mapping.items())))
    assert fingerprint(mapping) == fingerprint(backwards)


def test_a_class_name_and_its_revision_are_identity():
    assert fingerprint(Rate(value=1.0)) != fingerprint(Speed(value=1.0))
    before = fingerprint(Rate(value=1.0))
    Rate.REVISION = 2
    try:
        assert fingerprint(Rate(value=1.0)) != before
    finally:
        Rate.REVISION = 1


def test_the_fingerprint_is_the_same_in_another_process():
    code = (
        "from ray_slm.scheduling.identity import fingerprint as f; "
        "print(f({'a': (1, 2.5, None, 'x')}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == fingerprint({"a": (1, 2.5, None, "x")})


@pytest.mark.parametrize(
    "value",
    [Path("x"), {1, 2}, [1], print, math.nan, math.inf, object(), {1: 2}, Mutable(), Rate, b"x"],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value):
    with pytest.raises(TypeError, match="field"):
        canonical({"inner": value}, where="field")


def test_an_enum_counts_as_its_value():
    assert canonical(Color.RED) == "red"


def test_differences_name_the_field_and_both_values():
    old = canonical({"recipe": Rate(value=1.0), "inputs": {"a": ("x", "")}})
    new = canonical({"recipe": Rate(value=2.0), "inputs": {"a": ("y", "")}})
    assert differences(old, new) == ['inputs.a[0]: "x" -> "y"', "recipe.value: 1.0 -> 2.0"]
    assert differences(old, old) == []
