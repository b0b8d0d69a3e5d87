"""A Prometheus of the test's own, and questions to it."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

UNPACKED = Path(__file__).parents[2] / ".venv" / "prometheus" / "usr" / "bin"


def tool(name):
    """The path of prometheus or promtool."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED))
    if found is None:
        pytest.fail(f"{name} is not here: run `make setup`, or apt-get install prometheus")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def scraping(configuration, folder):
    """A server with this configuration file; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (folder.parent / "prometheus.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_ready(address, server)
            yield f"http://{address}"
        finally:
            server.terminate()
            server.wait(timeout=20)


def _wait_until_ready(address, server):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "prometheus ended"
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail("prometheus did not become ready in 30 s")


def ask(server, query):
    """The series that a query returns over the last minutes: {labels: values}."""
    now = time.time()
    words = {"query": query, "start": now - 600, "end": now, "step": 1}
    url = f"{server}/api/v1/query_range?{urllib.parse.urlencode(words)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        found = json.load(answer)
    assert found["status"] == "success", found
    return {
        tuple(sorted(series["metric"].items())): [float(v) for _, v in series["values"]]
        for series in found["data"]["result"]
    }


def plain(query):
    """A panel's query with Grafana's variables filled in."""
    filled = query.replace("$__rate_interval", "1m")
    return re.sub(r"\$(study|modality)", ".*", filled)
