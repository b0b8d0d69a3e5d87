import dataclasses
import subprocess
import sys

import pytest

from ray_slm.scheduling.identity import canonical
from ray_slm.training import scale
from ray_slm.training.scale import LAPTOP, MEDIUM, SMALL, TINYLLAMA, Batching, Optimizer, Scale


@pytest.mark.parametrize(
    ("num_rows", "expected"),
    [
        (80, 969_304_064),
        (128, 969_500_672),
        (2048, 977_364_992),
        (2112, 977_627_136),
        (32000, 1_100_048_384),
    ],
)
def test_tinyllama_has_the_parameters_of_the_reference_table(num_rows, expected):
    assert scale.num_parameters(TINYLLAMA, num_rows) == expected


@pytest.mark.parametrize(
    ("vocab_size", "rows"), [(1, 64), (61, 64), (62, 128), (80, 128), (2048, 2112)]
)
def test_tables_hold_units_and_specials_in_multiples_of_64(vocab_size, rows):
    assert scale.table_size(vocab_size) == rows


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [(LAPTOP, 0.7e6, 1.0e6), (SMALL, 22e6, 28e6), (MEDIUM, 118e6, 132e6)],
)
def test_named_scales_are_as_large_as_their_names_promise(value, low, high):
    assert low < scale.num_parameters(value, 0) < high


@pytest.mark.parametrize("vocab_size", [71, 78, 80, 512, 2048])
@pytest.mark.parametrize("value", [LAPTOP, SMALL, MEDIUM, TINYLLAMA], ids=lambda scale: scale.name)
def test_counted_parameters_are_those_of_the_model(value, vocab_size):
    import torch

    from ray_slm.training.model import Llama

    num_rows = scale.table_size(vocab_size)
    with torch.device("meta"):
        model = Llama(value, num_rows)
    assert sum(p.numel() for p in model.parameters()) == scale.num_parameters(value, num_rows)


def test_tinyllama_is_tinyllama():
    assert (TINYLLAMA.layers, TINYLLAMA.heads, TINYLLAMA.kv_heads) == (22, 32, 4)
    assert (TINYLLAMA.width, TINYLLAMA.ffn, TINYLLAMA.head_size) == (2048, 5632, 64)
    assert (TINYLLAMA.norm_epsilon, TINYLLAMA.rope_base, TINYLLAMA.window) == (1e-5, 10_000.0, 2048)


def test_flops_count_matrices_head_and_causal_attention():
    assert scale.flops_per_token(TINYLLAMA, 740, 2048) == pytest.approx(6.04e9, rel=1e-3)
    head_share = scale.flops_per_token(TINYLLAMA, 740, 2048) - scale.flops_per_token(TINYLLAMA, 740)
    assert head_share == 6 * 2048 * 2048
    longer = scale.flops_per_token(TINYLLAMA, 741) - scale.flops_per_token(TINYLLAMA, 740)
    assert longer == 6 * 22 * 2048


@pytest.mark.parametrize("change", [{"heads": 3}, {"kv_heads": 3}])
def test_impossible_shapes_are_refused(change):
    with pytest.raises(ValueError, match="heads"):
        dataclasses.replace(LAPTOP, **change)


def test_unknown_schedules_and_shares_are_refused():
    with pytest.raises(ValueError, match="wsd-s"):
        Optimizer(schedule="linear")
    with pytest.raises(ValueError, match="cooldown_fraction"):
        Optimizer(cooldown_fraction=1.5)
    with pytest.raises(ValueError, match="utterances_per_step"):
        Batching(utterances_per_step=0)


def test_every_value_has_an_identity():
    for value in (LAPTOP, Optimizer(), Batching()):
        assert canonical(value)["revision"] == type(value).REVISION


def test_planning_needs_no_torch():
    code = "import ray_slm.training.scale, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_scale_knows_its_head_size():
    assert Scale(name="x", layers=1, heads=4, kv_heads=2, width=64, ffn=8).head_size == 16
