"""Word to training runs that their driver or a node is about to go: save now.

It travels through the control store of Ray, which outlives every node but the head: a worker asks
there once a second, and says there that it saved.  It serves a stopped job and a spot notice alike.
"""

import time
from collections.abc import Sequence

from ray.experimental import internal_kv as control_store

NAMESPACE = b"ray_slm"
ASK_SECONDS = 1.0
AGAIN_SECONDS = 10.0  # while the notice stands: what is lost is at most this much work
POLL_SECONDS = 0.2


def give(address: str, stands_seconds: float) -> None:
    """Ask the run at ``address`` to save now, and again until the notice expires."""
    _put("save", address, str(time.time() + stands_seconds))


def forget(address: str) -> None:
    """Drop what was said to and by a run, before it starts and after it ended."""
    for what in ("save", "steps", "saved"):
        control_store._internal_kv_del(_key(what, address), namespace=NAMESPACE)


def save_now(addresses: Sequence[str], patience_seconds: float) -> list[str]:
    """Ask runs to save and wait until they did; returns those that did not in time.

    A run that has taken no step has nothing to save.
    """
    waiting = {a: _get("saved", a) for a in addresses if _get("steps", a)}
    deadline = time.monotonic() + patience_seconds
    for address in waiting:
        give(address, patience_seconds)
    while waiting and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        # A run that came to its end meanwhile takes no steps any more.
        waiting = {
            a: old for a, old in waiting.items() if _get("steps", a) and _get("saved", a) == old
        }
    return list(waiting)


class Listener:
    """Called after each step of the run at ``address``: whether to save at once."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._asked = False
        self._ask_at = 0.0
        self._save_at = 0.0

    def __call__(self) -> bool:
        """True when a notice stands and the last save that it caused is a while ago."""
        now = time.monotonic()
        if self._asked:  # at the next step, what the last call asked for is done
            _put("saved", self._address, str(now))
            self._asked = False
        if now < max(self._ask_at, self._save_at):
            return False
        if not self._ask_at:
            _put("steps", self._address, "yes")
        self._ask_at = now + ASK_SECONDS
        if float(_get("save", self._address) or 0.0) < time.time():
            return False
        self._save_at, self._asked = now + AGAIN_SECONDS, True
        return True


def _key(what: str, address: str) -> bytes:
    return f"{what}:{address}".encode()


def _put(what: str, address: str, value: str) -> None:
    control_store._internal_kv_put(_key(what, address), value.encode(), namespace=NAMESPACE)


def _get(what: str, address: str) -> str | None:
    found = control_store._internal_kv_get(_key(what, address), namespace=NAMESPACE)
    return None if found is None else found.decode()
