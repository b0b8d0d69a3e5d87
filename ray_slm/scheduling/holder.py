"""Who drives a study: enough to name the process to people, and to tell that it is dead.

A driver that was killed leaves its lease behind.  On the same machine the next one need not wait:
the process table says whether the holder still lives, and its start time tells it from another
process that was given the same number.
"""

import dataclasses
import json
import os
import socket
import time
import uuid
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    """Who drives.  ``machine`` and ``started`` tell a dead process from another with its pid."""

    host: str
    pid: int
    since: float  # seconds since the epoch, for people
    machine: str
    started: str
    token: str
    released: bool = False

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"

    @property
    def is_gone(self) -> bool:
        """Whether the holder surely ended: it said so, or it ran here and its process is gone."""
        if self.released:
            return True
        here = bool(self.machine) and self.machine == _machine()
        return here and _started(self.pid) != self.started

    def content(self) -> bytes:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True).encode()


def myself() -> Holder:
    """This process."""
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=time.time(),
        machine=_machine(),
        started=_started(os.getpid()) or "",
        token=uuid.uuid4().hex,
    )


def parsed(content: bytes) -> Holder | None:
    """The holder of that content, or None while its creator has not written it yet."""
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _machine() -> str:
    """This boot of this machine and its process namespace; empty where neither can be told."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if not boot.exists() or not space.exists():
        return ""
    return f"{boot.read_text().strip()} {space.readlink()}"


def _started(pid: int) -> str | None:
    """When a process started, in ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
