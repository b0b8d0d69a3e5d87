"""A real S3 server of our own, and a proxy before it that throttles, drops and cuts.

The server is moto in a process of its own.  The proxy speaks HTTP over TCP, one request per
connection, and asks a function what to do with each request.
"""

import http.client
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate."
    b"</Message></Error>"
)
PASS, THROTTLE, DROP, MUTE, CUT = "pass", "throttle", "drop", "mute", "cut"
Mood = Callable[[str, str], str]  # method, path -> one of the above


@contextmanager
def server() -> Iterator[int]:
    """An S3 server on a free port of this machine."""
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def proxy(to_port: int, mood: Mood) -> Iterator["Proxy"]:
    """A proxy to a server on this machine, in threads of this process."""
    found = Proxy(to_port, mood)
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        thread.join()
        found.server_close()


class Proxy(socketserver.ThreadingTCPServer):
    """Counts what it did by mood.  ``mood`` may be exchanged at any time."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, to_port: int, mood: Mood) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.to_port, self.mood = to_port, mood
        self.did: dict[str, int] = {}

    @property
    def port(self) -> int:
        return self.server_address[1]


class _Handler(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        line = self.rfile.readline().decode("latin-1").strip()
        if not line:
            return
        method, path, _ = line.split(" ", 2)
        headers = http.client.parse_headers(self.rfile)
        if headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(headers.get("Content-Length", 0)))
        what = self.server.mood(method, path)
        self.server.did[what] = self.server.did.get(what, 0) + 1
        if what == THROTTLE:
            self._answer(503, "Slow Down", {"Content-Type": "application/xml"}, SLOW_DOWN, len)
        if what in (THROTTLE, DROP):
            return
        status, reason, answer_headers, content = self._forward(method, path, headers, body)
        if what == MUTE:
            return  # the server did it, and nobody will hear of it
        shown = len(content) // 2 if what == CUT else len(content)
        if method == "HEAD":
            shown = 0
        self._answer(status, reason, answer_headers, content[:shown], lambda _: len(content))

    def _forward(self, method, path, headers, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.to_port, timeout=30)
        passed = {k: v for k, v in headers.items() if k.lower() not in ("expect", "connection")}
        connection.request(method, path, body=body, headers=passed)
        answer = connection.getresponse()
        content = answer.read()
        skipped = ("connection", "transfer-encoding")
        found = {k: v for k, v in answer.getheaders() if k.lower() not in skipped}
        connection.close()
        return answer.status, answer.reason, found, content

    def _answer(self, status, reason, headers, content, length) -> None:
        lines = [f"HTTP/1.1 {status} {reason}", "Connection: close"]
        if not any(name.lower() == "content-length" for name in headers):
            lines.append(f"Content-Length: {length(content)}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content)


def environment(port: int) -> Mapping[str, str]:
    """The standard AWS variables that lead to a server on this machine."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_bucket(port: int, name: str) -> None:
    """One bucket, by the server's own protocol."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("PUT", f"/{name}", headers={"Host": "s3.amazonaws.com"})
    assert connection.getresponse().status == 200
    connection.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"no S3 server on port {port}; {os.environ.get('HOME')}")
