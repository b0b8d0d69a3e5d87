"""Several Ray nodes on one machine, a driver beside them, and ways to hurt both."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

from tests import smoke

# A dead node refuses at once and is noticed after some 4 s instead of 25; a busy one has longer.
QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}
OBJECT_STORE_BYTES = 100 * 2**20

# One modality that passes through everything: an encoder's actors, training, evaluation.
SPEECH = """
from dataclasses import replace
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="speech",
    contrasts=(),
    corpus=LaptopCorpus(train_hours=0.1, dev_minutes=0.5, num_shards=4),
    tasks=smoke.STUDY.tasks[:1],
    modalities=tuple(m for m in smoke.STUDY.modalities if m.name == "speech-whisper"),
    checkpoint_hours=(0.0, 1.0, 2.0),
)
"""


@contextlib.contextmanager
def cluster(
    *cpus_of_nodes: float, head_cpus: float = 0, dashboard: bool = False
) -> Iterator[Cluster]:
    """A head, which does no work unless told, and a node for each number of processors.

    Jobs want one node: several on one machine share the folder of a job's files, and the first
    that needs them no longer removes them for all.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # jobs call `python`
    wanted = {**QUICK_TO_NOTICE, "PATH": path}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    head = {
        "num_cpus": head_cpus,
        "include_dashboard": dashboard,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        for cpus in cpus_of_nodes:
            add(found, cpus)
        found.wait_for_nodes()
        yield found
    finally:
        found.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def add(found: Cluster, cpus: float):
    return found.add_node(num_cpus=cpus, object_store_memory=OBJECT_STORE_BYTES, wait=False)


@contextlib.contextmanager
def driver(
    study: Path, root: Path, address: str, log: Path, **environment: str
) -> Iterator[subprocess.Popen]:
    """`ray-slm run` on a cluster, in a process of its own."""
    with log.open("w") as output:
        process = subprocess.Popen(
            smoke.command("run", str(study), root),
            cwd=smoke.REPOSITORY,
            env={**os.environ, "RAY_ADDRESS": address, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def wait_until(
    holds: Callable[[], object], seconds: float = 180, process: subprocess.Popen | None = None
) -> None:
    """Wait for something to hold, while a driver runs."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process is None or process.poll() is None, "the driver ended early"
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)


def tokenizing(root: Path) -> bool:
    """Whether the corpus is in parts tokenized by the encoder."""
    whole = list(root.glob("tokens/speech-whisper/laptop/*/record.json"))
    return not whole and any(root.glob("tokens/speech-whisper/laptop/*/*/shard-*.bin"))


def steps(root: Path) -> int:
    """Steps that the journals of training runs hold."""
    journals = root.glob("train/*/*/*/scratch/journal-*.jsonl")
    return sum(path.read_text().count('"seconds"') for path in journals)


def evaluating(root: Path) -> bool:
    """Whether a checkpoint was evaluated."""
    return any(root.glob("evaluate/*/*/*/*/*/record.json"))


def kill_worker(title: str) -> bool:
    """SIGKILL a worker process of our own nodes whose title says what it runs."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if title in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
                return True
    return False
