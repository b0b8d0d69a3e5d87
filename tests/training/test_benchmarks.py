"""The benchmarks of training, at a size that only shows that they run and count right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def figures(script, *options):
    command = [sys.executable, str(REPOSITORY / "benchmarks" / script), "--json", *options]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=REPOSITORY)
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout.splitlines()[-1])["figures"]


def test_the_gpu_benchmark_runs_on_a_processor(tmp_path):
    small = ["--device", "cpu", "--scale", "laptop", "--steps", "2", "--utterances", "4"]
    small += ["--hf-rows", "2", "--no-compile", "--modality", "text-raw", "--out", str(tmp_path)]
    found = figures("train_gpu.py", *small)
    assert 0 < found["mfu"] < 1
    assert found["vs_hf_trainer_padded"] > 0
    assert found["peak_memory_gb"] > 0.1
    assert "aten::mm" in (tmp_path / "text-raw.txt").read_text()
    assert set(json.loads((tmp_path / "figures.json").read_text())) == {"text-raw"}


def test_the_gpu_benchmark_asks_little_of_a_bare_machine():
    """Neither Ray nor what corpora need: nobody may be able to install it there."""
    code = "import sys, benchmarks.train_gpu; print(*{name.split('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=REPOSITORY)
    asked = set(found.stdout.decode().split())
    assert {"torch", "transformers", "safetensors", "numpy"} <= asked
    assert not asked & {"ray", "pyarrow", "pandas", "mlflow", "sentencepiece"}


def test_the_cpu_benchmark_counts_all_three_sides(places):
    small = ["--hours", "0.03", "--turns", "3", "--utterances", "8"]
    found = figures("train_cpu.py", *small)
    assert set(found) >= {"vs_hf_trainer_padded", "vs_bare_loop", "data_wait_share"}
    assert all(value > 0 for value in found.values())
    assert found["data_wait_share"] < 1
    assert found["checkpoint_share"] == pytest.approx(0.05, abs=0.05)
