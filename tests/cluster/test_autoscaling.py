"""Ray's own autoscaler over nodes that are processes: groups grow by a study's demands and go."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
import ray
from ray._private.state import actors
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tests.cluster import nodes

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
HEAD = "ray.head.default"  # the provider knows no other name
MOST_TRAINING_NODES = 3
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"

# Two runs of two workers each, a GPU a worker: four GPUs are wanted and three can be had.
STUDY = """
from dataclasses import replace
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="gangs",
    contrasts=(),
    tasks=smoke.STUDY.tasks[:1],
    modalities=tuple(
        m for m in smoke.STUDY.modalities if m.name in ("phone-raw", "speech-whisper")
    ),
    train_workers=2,
    train_gpus=1.0,
)
"""


def configuration(port: int) -> dict:
    """A launcher file of three groups, for the provider that makes local nodes."""
    store = {"object_store_memory": nodes.OBJECT_STORE_BYTES}
    groups = {
        HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "tokenizing": {"resources": {"CPU": 2, **store}, "node_config": {}, "max_workers": 2},
        "training": {
            "resources": {"CPU": 2, "GPU": 1, **store},
            "node_config": {},
            "max_workers": MOST_TRAINING_NODES,
        },
    }
    nothing = ("head_setup_commands", "worker_setup_commands", "setup_commands")
    nothing += ("initialization_commands", "head_start_ray_commands", "worker_start_ray_commands")
    nothing += ("cluster_synced_files", "rsync_exclude", "rsync_filter")
    return {
        "cluster_name": "groups",
        "max_workers": 5,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 8.0,
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": f"127.0.0.1:{port}",
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "head_node_type": HEAD,
        "available_node_types": groups,
        **{name: [] for name in nothing},
    }


@pytest.fixture
def growing(tmp_path, monkeypatch):
    """The address of a head whose autoscaler starts and ends nodes; killed with all of them."""
    # `ray start` asks for a token where a local Ray has ever written one; all here do without.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "cluster.json"
    config.write_text(json.dumps(configuration(port)))
    environment = {
        **os.environ,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=0"]
    command += [f"--autoscaling-config={config}", "--include-dashboard=false"]
    command += [f"--object-store-memory={nodes.OBJECT_STORE_BYTES}"]
    command += ["--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"]
    with (tmp_path / "head.log").open("w") as log:
        head = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        ray.shutdown()
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(40)  # it drains for up to 30 s
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def connect(address: str) -> None:
    """Join as an observer, once the head is up."""
    deadline = time.monotonic() + 60
    while True:
        try:
            ray.init(address=address, logging_level="ERROR", log_to_driver=False)
            return
        except ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(1)


def groups_of_nodes() -> dict[str, str]:
    """Living nodes by id: "training" has GPUs, "tokenizing" processors only."""
    found = {}
    for node in ray.nodes():
        resources = node["Resources"]
        if node["Alive"] and resources.get("CPU"):
            found[node["NodeID"]] = "training" if "GPU" in resources else "tokenizing"
    return found


def test_groups_grow_by_a_studys_demands_and_leave_when_idle(growing, tmp_path, places):
    study, root, log = tmp_path / "gangs.py", tmp_path / "root", tmp_path / "log"
    study.write_text(STUDY)
    connect(growing)
    seen: dict[str, str] = {}  # group by node
    most: dict[str, int] = defaultdict(int)
    worked: dict[str, set[str]] = defaultdict(set)  # kind of worker -> groups it was seen in
    groups_before_training: set[str] = set()
    with nodes.driver(study, root, growing, log, RAY_SLM_DEVICE="cpu") as process:
        deadline = time.monotonic() + 400
        while process.poll() is None:
            assert time.monotonic() < deadline, log.read_text()
            alive = groups_of_nodes()
            seen |= alive
            for group in ("tokenizing", "training"):
                most[group] = max(most[group], list(alive.values()).count(group))
            if not any(root.glob("tokens/*/laptop/*/record.json")):
                groups_before_training |= set(alive.values())
            for actor in actors().values():
                kind, node = actor["ActorClassName"], actor["Address"]["NodeID"]
                for name in ("MapWorker", "RayTrainWorker"):
                    if name in kind and node in seen:
                        worked[name].add(seen[node])
            time.sleep(0.3)
        assert process.returncode == 0, log.read_text()
    assert groups_before_training == {"tokenizing"}
    assert worked["RayTrainWorker"] == {"training"}
    # No node with a GPU is started for tokenizing; one that is there and idle may take some.
    assert "tokenizing" in worked["MapWorker"]
    assert 2 <= most["training"] <= MOST_TRAINING_NODES
    nodes.wait_until(lambda: not groups_of_nodes(), seconds=60)
