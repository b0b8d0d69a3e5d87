"""An agent for spot nodes: turns the cloud's two-minute notice into a drain of this Ray node.

`python -m ray_slm.cluster.spot --address HEAD:6379` runs beside Ray on every worker (cluster.yaml
starts it).  It asks the instance metadata service (IMDSv2) every few seconds; Ray then starts
nothing more here and training runs save.  Ray itself does not listen to these notices.
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import NamedTuple

METADATA = "http://169.254.169.254"
TOKEN_SECONDS = 21_600  # the longest there is
ASK_SECONDS = 5.0  # what AWS recommends
TIMEOUT_SECONDS = 2.0
RETRIES = 20  # of a drain that Ray does not take: the node may still be joining


class Notice(NamedTuple):
    """What the cloud will do to this node, and when, in Unix seconds."""

    action: str
    ends_at: float


class Metadata:
    """The instance metadata service, version 2: every question carries a session's token."""

    def __init__(self, address: str = METADATA) -> None:
        self._address, self._token = address, ""

    def read(self, path: str) -> str | None:
        """The text under ``/latest/meta-data/``; None where there is nothing (yet)."""
        for _ in range(2):
            try:
                if not self._token:
                    self._token = self._ask(
                        "api/token",
                        "PUT",
                        {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)},
                    )
                header = {"X-aws-ec2-metadata-token": self._token}
                return self._ask(f"meta-data/{path}", "GET", header)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401:
                    raise
                self._token = ""  # it expired: ask once more with a new one
        raise PermissionError(f"{self._address} refuses a token that it has just given")

    def notice(self) -> Notice | None:
        """The spot notice, if there is one."""
        text = self.read("spot/instance-action")
        if text is None:
            return None
        found = json.loads(text)
        ends = datetime.datetime.fromisoformat(found["time"])  # 2026-11-21T08:22:00Z
        return Notice(str(found["action"]), ends.timestamp())

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(
            f"{self._address}/latest/{path}", method=method, headers=headers
        )
        # Never through a proxy: the address means this very machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return str(answer.read().decode())


def watch(metadata: Metadata, address: str, node_id: str | None, every_seconds: float) -> None:
    """Ask until a notice comes, then drain this node and return."""
    while (notice := _notice(metadata)) is None:
        time.sleep(every_seconds)
    remaining = max(0, int(notice.ends_at - time.time()))
    print(f"spot notice: {notice.action} in {remaining} s, draining this node", flush=True)
    for _ in range(RETRIES):
        node = node_id or _this_node(metadata, address)
        if node is not None and _drain(address, node, notice):
            return
        time.sleep(every_seconds)
    raise RuntimeError(f"Ray at {address} did not take the drain of this node")


def _notice(metadata: Metadata) -> Notice | None:
    """The notice; a service that fails for a moment must not end the agent."""
    try:
        return metadata.notice()
    except (OSError, ValueError, KeyError) as error:
        print(f"metadata service: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return None


def _drain(address: str, node: str, notice: Notice) -> bool:
    """Whether Ray accepted to drain the node until the cloud takes it."""
    remaining = max(0, int(notice.ends_at - time.time()))
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot notice"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address]
    command += ["--node-id", node, *reason, "--deadline-remaining-seconds", str(remaining)]
    return subprocess.run(command, check=False).returncode == 0


def _this_node(metadata: Metadata, address: str) -> str | None:
    """The id of the Ray node at this machine's address, once it has joined."""
    import ray

    here = metadata.read("local-ipv4")
    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    try:
        nodes = [n for n in ray.nodes() if n["Alive"] and n["NodeManagerAddress"] == here]
    finally:
        ray.shutdown()
    return str(nodes[0]["NodeID"]) if nodes else None


def main() -> None:
    """Entry point of the agent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="Ray's control store, HEAD:6379")
    parser.add_argument("--metadata", default=METADATA, help="the metadata service")
    parser.add_argument("--node-id", help="instead of the node at this machine's address")
    parser.add_argument("--every", type=float, default=ASK_SECONDS, metavar="SECONDS")
    found = parser.parse_args()
    watch(Metadata(found.metadata), found.address, found.node_id, found.every)


if __name__ == "__main__":
    main()
