"""What the driver watches on a cluster: nodes that are to leave, and what the dead still hold.

Called from the runner's loop, it asks the control store rarely: a drain is announced minutes, on
spot instances two, before the node goes.
"""

import time

from ray._private.state import state

from ray_slm.cluster.reaper import free_orphans

DRAIN_LOOK_SECONDS = 2.0
REAP_SECONDS = 10.0
UNANNOUNCED_SECONDS = 120.0  # a drain without a deadline: what a spot instance has


def can_grow() -> bool:
    """Whether an autoscaler may add nodes to this cluster."""
    config = state.get_cluster_config()
    groups = config.node_group_configs if config else ()
    return any(g.max_count == -1 or g.max_count > g.min_count for g in groups)


class Watch:
    """Looks at the cluster when it is time to."""

    def __init__(self) -> None:
        self._look_at = self._reap_at = 0.0
        self._known: set[str] = set()

    def nodes_that_leave(self) -> list[float]:
        """For each node whose drain began since the last look: the seconds it still has."""
        now = time.monotonic()
        if now >= self._reap_at:
            self._reap_at = now + REAP_SECONDS
            free_orphans()
        if now < self._look_at:
            return []
        self._look_at = now + DRAIN_LOOK_SECONDS
        draining = state.get_draining_nodes()
        fresh = {node: ends for node, ends in draining.items() if node not in self._known}
        self._known = set(draining)
        return [_remaining(ends) for ends in fresh.values()]


def _remaining(ends_at_ms: int) -> float:
    """Seconds until a deadline in Unix milliseconds, of which 0 means none."""
    return max(1.0, ends_at_ms / 1000 - time.time()) if ends_at_ms else UNANNOUNCED_SECONDS
