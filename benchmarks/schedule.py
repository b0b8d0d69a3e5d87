"""What scheduling costs: of training, of the driver, and of the waits between stages.

Everything runs on Ray nodes that are processes of this machine.  ``efficiency`` compares six runs
on three nodes with the same six loops as bare processes, both while all six train.  The other
figures are seconds, or a share of one processor; ``--json`` prints them alone.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from ray_slm.scheduling.plan import plan  # noqa: E402
from ray_slm.scheduling.stage import Stage  # noqa: E402
from ray_slm.scheduling.store import open_store  # noqa: E402
from ray_slm.study import load_study  # noqa: E402
from tests.cluster import nodes  # noqa: E402

# Six equal runs over one cheap modality; a checkpoint and its evaluation every few seconds.
SIX = """
from dataclasses import replace
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="six",
    contrasts=(),
    tasks=smoke.STUDY.tasks[:1],
    modalities=tuple(m for m in smoke.STUDY.modalities if m.name == "phone-repeat"),
    seeds=tuple(range(SEEDS)),
    checkpoint_hours=CHECKPOINTS,
    item_voices=("kal16",),
)
"""
BARE = """
import sys
import torch
from pathlib import Path
from ray_slm.launch import places
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import open_store
from ray_slm.stages.site import Site
from ray_slm.stages.train import train
from ray_slm.study import load_study

torch.set_num_threads(1)
stages = {stage.name: stage for stage in plan(load_study(sys.argv[1]))}
site = Site(open_store(sys.argv[2]), {"assets": Path(sys.argv[3])})
train(stages[sys.argv[4]], site)
"""


def write_study(folder: Path, seeds: int, checkpoints: tuple[float, ...]) -> Path:
    """The study as a file, so that other processes can read it."""
    path = folder / f"six-{seeds}-{len(checkpoints)}.py"
    path.write_text(SIX.replace("SEEDS", str(seeds)).replace("CHECKPOINTS", str(checkpoints)))
    return path


def run(study: Path, root: Path, *options: str, address: str | None = None) -> None:
    """`ray-slm run` to its end, in a process of its own."""
    command = [sys.executable, "-m", "ray_slm", "run", str(study), "--root", str(root), "--quiet"]
    environment = {**os.environ, **({"RAY_ADDRESS": address} if address else {})}
    subprocess.run([*command, *options], cwd=HERE, env=environment, check=True, stdout=sys.stderr)


def rate_while_all_train(root: Path, num_runs: int) -> float:
    """Tokens a second over all runs, between the last first step and the first last step."""
    runs = []
    for path in sorted(root.glob("train/*/*/*/timing.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        runs.append([line for line in lines if "num_tokens" in line])
    assert len(runs) == num_runs, f"{len(runs)} of {num_runs} runs in {root}"
    start, end = max(r[0]["time"] for r in runs), min(r[-1]["time"] for r in runs)
    assert end > start + 3, "the runs hardly overlap: train for longer"
    tokens = sum(step["num_tokens"] for r in runs for step in r if start < step["time"] <= end)
    return tokens / (end - start)


def efficiency(folder: Path, repeats: int) -> float:
    """Training rate on a cluster of three nodes over that of bare processes, a median of pairs."""
    study = write_study(folder, 6, (4.0,))
    prepared = folder / "prepared"
    run(study, prepared, "--backend", "local", "--until", "tokenize")
    trains = [s.name for s in plan(load_study(str(study))) if s.name.startswith("train/")]
    ratios = []
    for repeat in range(repeats):
        on_ray, bare = folder / f"ray-{repeat}", folder / f"bare-{repeat}"
        for root in (on_ray, bare):
            subprocess.run(["cp", "-r", str(prepared), str(root)], check=True)
        with nodes.cluster(2, 2, 2) as cluster:
            run(study, on_ray, "--until", "train", address=cluster.address)
        command = [sys.executable, "-c", BARE, str(study), str(bare), str(HERE / ".assets")]
        running = [subprocess.Popen([*command, name], cwd=HERE) for name in trains]
        assert all(process.wait() == 0 for process in running)
        ratios.append(rate_while_all_train(on_ray, 6) / rate_while_all_train(bare, 6))
    return statistics.median(ratios)


def idle_gaps(folder: Path) -> list[float]:
    """Seconds from a checkpoint's record to the start of its evaluation, the first one left out.

    The first waits for its actor to start, as one does on a node that has just come.
    """
    from ray_slm.cluster import evaluate, session
    from ray_slm.launch import places
    from ray_slm.scheduling import runner
    from ray_slm.stages.site import Site

    study = load_study(str(write_study(folder, 1, tuple(0.5 * n for n in range(9)))))
    root = folder / "gaps"
    store, stages = open_store(str(root)), plan(study)
    root.mkdir()
    with nodes.cluster(4) as cluster:
        os.environ["RAY_ADDRESS"] = cluster.address
        with session.ray_backend(Site(store, places([])), stages) as backend:
            (exchange,) = evaluate._exchanges.values()
            outcome = runner.run(stages, store, backend)
        del os.environ["RAY_ADDRESS"]
    assert not outcome.failed, outcome.failed
    made = {s.address: store.record(s.inputs["checkpoint"].address) for s in stages if _scores(s)}
    started = {work.split()[0]: at for work, at in exchange.started.items() if work}
    gaps = [at - made[address]["written_at"] for address, at in sorted(started.items())]
    return gaps[1:]


def _scores(stage: Stage) -> bool:
    return stage.name.startswith("evaluate/")


def driver_share(folder: Path, seconds: float = 90.0) -> tuple[float, int]:
    """Share of a processor that the driver takes while runs train, and the stages of its plan.

    The seconds are the longest pause of the MLflow mirror, so that it sends once, and begin when
    it has made its runs.
    """
    # One checkpoint is reached; a thousand stages wait for those that are not.
    hours = (0.0, *(float(hour) for hour in range(40, 206)))
    study = write_study(folder, 6, hours)
    count = len(plan(load_study(str(study))))
    root, log = folder / "thousand", folder / "log"
    with (
        nodes.cluster(4) as cluster,
        nodes.driver(study, root, cluster.address, log) as process,
    ):
        journals = "train/*/*/*/scratch/journal-*.jsonl"
        nodes.wait_until(lambda: len(list(root.glob(journals))) == 6, 400, process)
        nodes.wait_until(lambda: len(list(root.glob("evaluate/*/*/*/*/*/record.json"))) == 6, 400)
        time.sleep(seconds)
        driver = psutil.Process(process.pid)
        before = driver.cpu_times()
        time.sleep(seconds)
        after = driver.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds, count


def recovery(folder: Path) -> float:
    """Seconds from the loss of a run's node to its next step, with another node at hand."""
    study, root, log = write_study(folder, 1, (20.0,)), folder / "lost", folder / "log"
    with (
        nodes.cluster(2) as cluster,
        nodes.driver(study, root, cluster.address, log) as process,
    ):
        (worker,) = cluster.worker_nodes
        nodes.wait_until(lambda: nodes.steps(root) > 5, process=process)
        nodes.add(cluster, 2)
        cluster.wait_for_nodes()
        cluster.remove_node(worker, allow_graceful=False)
        lost_at = time.time()
        second = "train/*/*/*/scratch/journal-*2.jsonl"
        nodes.wait_until(lambda: any(p.stat().st_size for p in root.glob(second)), 120, process)
        return time.time() - lost_at


@contextlib.contextmanager
def warm_cluster() -> Iterator[str]:
    """The address of a job server whose cluster has run a task."""
    with nodes.cluster(2, dashboard=True) as cluster:
        yield f"http://{cluster.webui_url}"


def submit_to_first_stage(folder: Path) -> float:
    """Seconds from `ray-slm submit` to the first files of its first stage; the second of two."""
    study, took = write_study(folder, 1, (0.05,)), []
    with warm_cluster() as address:
        for number in range(2):
            root = folder / f"submitted-{number}"
            command = [sys.executable, "-m", "ray_slm", "submit", str(study), "--root", str(root)]
            command += ["--address", address, "--packages", "nodes", "--no-wait"]
            command += ["--place", f"assets={HERE / '.assets'}"]
            start = time.monotonic()
            said = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
            nodes.wait_until(lambda root=root: any(root.glob("corpus/*/*/*")), 120)
            took.append(time.monotonic() - start)
            job = re.search(r"^job +(\S+)$", said.stdout, re.M)
            assert job is not None
            stop = [str(Path(sys.executable).with_name("ray")), "job", "stop", "--address", address]
            subprocess.run([*stop, job[1]], check=True, stdout=subprocess.DEVNULL)
    return took[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One figure, its limit, and the side on which it must lie."""

    name: str
    value: float
    limit: str


def measure(folder: Path, wanted: list[str], repeats: int) -> list[Row]:
    """The figures that were asked for."""
    rows = []
    if "efficiency" in wanted:
        rows.append(Row(name="efficiency", value=efficiency(folder, repeats), limit=">= 0.85"))
    if "idle_gap_s" in wanted:
        rows.append(Row(name="idle_gap_s", value=statistics.median(idle_gaps(folder)), limit="< 2"))
    if "driver_cpu_share" in wanted:
        share, count = driver_share(folder)
        rows.append(Row(name="driver_cpu_share", value=share, limit=f"< 0.01 ({count} stages)"))
    if "recovery_s" in wanted:
        rows.append(Row(name="recovery_s", value=recovery(folder), limit="< 30"))
    if "submit_to_first_stage_s" in wanted:
        seconds = submit_to_first_stage(folder)
        rows.append(Row(name="submit_to_first_stage_s", value=seconds, limit="< 20"))
    return rows


FIGURES = (
    "efficiency",
    "idle_gap_s",
    "driver_cpu_share",
    "recovery_s",
    "submit_to_first_stage_s",
)


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--only", nargs="*", default=FIGURES, choices=FIGURES, metavar="FIGURE")
    parser.add_argument("--repeats", type=int, default=1, help="pairs behind `efficiency`")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), asked.only, asked.repeats)
    if asked.json:
        print(json.dumps({"figures": {row.name: round(row.value, 4) for row in rows}}))
        return
    for row in rows:
        print(f"{row.name:<26}{row.value:8.3f}   {row.limit}")


if __name__ == "__main__":
    main()
