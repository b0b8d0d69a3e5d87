"""The spot agent, against an imitation of the instance metadata service (IMDSv2)."""

import contextlib
import datetime
import http.server
import json
import subprocess
import sys
import threading

import pytest

from ray_slm.cluster.spot import Metadata
from tests import smoke
from tests.cluster import nodes


class Service(http.server.BaseHTTPRequestHandler):
    """Answers as the real one: a PUT for a token, then GETs that carry it."""

    notice: str | None = None
    tokens: int = 0
    broken: bool = False

    def do_PUT(self):
        assert self.path == "/latest/api/token"
        assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        type(self).tokens += 1
        self.answer(200, f"token-{self.tokens}")

    def do_GET(self):
        if self.broken:
            self.answer(500, "")
        elif self.headers["X-aws-ec2-metadata-token"] != f"token-{self.tokens}":
            self.answer(401, "")
        elif self.path == "/latest/meta-data/spot/instance-action" and self.notice:
            self.answer(200, self.notice)
        else:
            self.answer(404, "")

    def answer(self, code, text):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def service():
    class Own(Service):
        pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        Own.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield Own
        server.shutdown()
        thread.join()


def in_seconds(seconds):
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return json.dumps({"action": "terminate", "time": ends.strftime("%Y-%m-%dT%H:%M:%SZ")})


def test_no_notice_is_none_and_a_notice_says_what_and_when(service):
    metadata = Metadata(service.address)
    assert metadata.notice() is None
    service.notice = json.dumps({"action": "stop", "time": "2026-11-21T08:22:00Z"})
    assert metadata.notice() == ("stop", 1_795_249_320.0)
    assert service.tokens == 1


def test_an_expired_token_is_renewed(service):
    metadata = Metadata(service.address)
    assert metadata.notice() is None
    service.tokens += 1  # the service forgets the first
    service.notice = in_seconds(120)
    assert metadata.notice().action == "terminate"


@contextlib.contextmanager
def agent(address, service, node):
    command = [sys.executable, "-m", "ray_slm.cluster.spot", "--address", address]
    command += ["--metadata", service.address, "--node-id", node, "--every", "0.2"]
    process = subprocess.Popen(command, cwd=smoke.REPOSITORY)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.cluster
def test_a_notice_has_training_save_and_move_before_the_node_goes(
    service, speech, undisturbed, tmp_path
):
    root, log = tmp_path / "root", tmp_path / "log"

    def saved():
        found = root.glob("train/*/*/*/scratch/resume/step-*[0-9]")
        return max((int(path.name.split("-")[1]) for path in found), default=0)

    with nodes.cluster(4) as cluster:
        (worker,) = cluster.worker_nodes
        service.broken = True  # for a moment, which must not end the agent
        with (
            agent(cluster.address, service, worker.node_id) as watching,
            nodes.driver(speech, root, cluster.address, log) as process,
        ):
            nodes.wait_until(lambda: nodes.steps(root) > 3, process=process)
            assert watching.poll() is None
            service.broken, service.notice = False, in_seconds(12)
            nodes.wait_until(saved, seconds=12, process=process)
            assert watching.wait(30) == 0
            nodes.add(cluster, 4)
            cluster.remove_node(worker, allow_graceful=False)
            assert process.wait(240) == 0, log.read_text()
    (record,) = root.glob("train/*/*/*/record.json")
    assert json.loads(record.read_text())["summary"]["attempts"] == 2
    assert smoke.digest(str(speech), root) == undisturbed
