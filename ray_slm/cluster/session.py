"""Start or join a Ray cluster for one study, and hand over its backend."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ray_slm.scheduling.runner import Backend
from ray_slm.stages.site import Site

# Ray Train drains its result queue once per health check; the default of 2 s delays every end.
HEALTH_CHECK_SECONDS = "0.5"
# Six trainers bring some thirty processes; Ray warns about each pair beyond its own estimate.
STARTUP_CONCURRENCY = "16"
# On one machine the operating system shares processors better than reservations do: a run that
# waits for data or starts up would otherwise hold its whole processor.
LOCAL_CPUS_PER_CORE = 2
OBJECT_STORE_BYTES = 512 * 2**20


@contextlib.contextmanager
def ray_backend(site: Site) -> Iterator[Backend]:
    """A backend on the cluster that RAY_ADDRESS names, else on a local one that ends with us."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", HEALTH_CHECK_SECONDS)
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", STARTUP_CONCURRENCY)
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune heeds verbose=0 in the old style only
    address = os.environ.get("RAY_ADDRESS", "local")
    limits: dict[str, object] = {}
    if address == "local":
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes it away
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors come back as exceptions
        limits = {
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "num_cpus": LOCAL_CPUS_PER_CORE * (os.cpu_count() or 1),
        }
    import ray

    from ray_slm.cluster.backend import RayBackend

    ray.init(
        address=address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": worker_environment()},
        **limits,
    )
    _protect_token()
    backend = RayBackend(site, ray.cluster_resources() if address == "local" else None)
    try:
        yield backend
    finally:
        backend.abandon()
        ray.shutdown()


def worker_environment() -> dict[str, str]:
    """One thread per process: parallelism is Ray's, and single threads keep results equal."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**single, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def _protect_token() -> None:
    """Ray writes its token readable by everyone; narrow it to its owner."""
    token = Path.home() / ".ray" / "auth_token"
    if token.exists() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)
