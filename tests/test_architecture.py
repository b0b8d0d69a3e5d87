"""The shape of the package, as rules that fail when broken."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ray_slm"
MODULES = sorted(PACKAGE.rglob("*.py"))
SUBJECT = (
    *("corpora", "units", "modalities", "tasks"),
    *("tokens", "token_shards", "token_sources", "token_index", "token_finish"),
)
# Each layer may import the layers above it in this list, and itself.
LAYERS = (
    ("errors", "parquet", "pace"),
    SUBJECT,
    ("training", "evaluation", "continuation"),
    ("scheduling.folders", "scheduling.objects", "scheduling.holder"),
    ("scheduling.lease", "scheduling.exchange"),
    ("scheduling.identity", "scheduling.stage", "scheduling.records"),
    ("scheduling.store", "scheduling.runner", "scheduling.places"),
    ("benchmark_shapes", "rehearsal"),
    (
        *("study", "studies", "recipes", "scheduling.plan", "scheduling.token_stages"),
        *("scheduling.evaluation_stages", "scheduling.continuation_stages"),
    ),
    ("report", "tracking", "tracking_address", "tracked", "terminal", "token_table"),
    ("scheduling.capacity", "costs"),
    ("stages", "sweep"),
    ("cluster",),
    ("launch", "inquiry", "doctor", "sweeping", "evaluating", "comparing"),
    ("options",),
    ("sweep_cli", "evaluate_cli"),
    ("cli", "__main__"),
)
FORBIDDEN_NAMES = ("utils", "common", "helpers", "base", "manager", "factory")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> int:
    for level, members in enumerate(LAYERS):
        if any(module == m or module.startswith(f"{m}.") for m in members):
            return level
    if module in ("", "__init__", "scheduling"):
        return 0
    raise AssertionError(f"{module} stands in no layer: add it to LAYERS")


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "ray_slm":
                found += [f"ray_slm.{alias.name}" for alias in node.names]
            else:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found += [n if is_module(n) else node.module for n in names]
    return found


def is_module(dotted: str) -> bool:
    path = PACKAGE.parent / Path(*dotted.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_its_own_layer_and_those_above(path):
    level = layer_of(name_of(path))
    for imported in imports_of(path):
        if imported.startswith("ray_slm.") and imported != "ray_slm.__version__":
            inner = imported.removeprefix("ray_slm.")
            assert layer_of(inner) <= level, f"{path.name} must not import {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_small_and_says_why_it_exists(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250, "split this module"
    assert ast.get_docstring(ast.parse(text)), "a module docstring says why it exists"
    assert text.isascii()
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 35, f"{path.name}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_ray_and_mlflow_stay_in_their_places(path):
    name = name_of(path)
    roots = {imported.split(".")[0] for imported in imports_of(path)}
    assert "ray" not in roots or name.startswith("cluster")
    assert "mlflow" not in roots or name == "tracking"
    environment = "os.environ" in path.read_text() or "getenv" in path.read_text()
    assert not environment or name in ("cli", "cluster.session")


def test_job_files_are_thin():
    for path in sorted((PACKAGE.parent / "jobs").glob("*.py")):
        assert len(path.read_text().splitlines()) <= 30, path


@pytest.mark.parametrize(
    "statement",
    ["import ray_slm.studies.laptop", "import ray_slm.scheduling.plan", "import ray_slm.cli"],
)
def test_planning_loads_neither_torch_nor_ray(statement):
    heavy = ("torch", "ray", "transformers", "sklearn", "mlflow", "pandas", "whisper")
    code = f"import sys; {statement}; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
