"""Start or join a Ray cluster for one study, and hand over its backend."""

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from ray_slm.errors import FencedError
from ray_slm.scheduling.runner import Backend
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site

# Ray Train drains its result queue once per health check; the default of 2 s delays every end.
HEALTH_CHECK_SECONDS = "0.5"
# Six trainers bring some thirty processes; Ray warns about each pair beyond its own estimate.
STARTUP_CONCURRENCY = "16"
# On one machine the operating system shares processors better than reservations do: a run that
# waits for data or starts up would otherwise hold its whole processor.
LOCAL_CPUS_PER_CORE = 2
OBJECT_STORE_BYTES = 512 * 2**20
STOP_PATIENCE_SECONDS = 20.0  # a step and a checkpoint; a stopped job is killed after a minute
DEVICE = "RAY_SLM_DEVICE"
# A warm actor whose last trial's thread is not gone by then fails its next trial without a word to
# the searcher, which waits for it forever: Tune's 2 s are little on a machine that swaps.
ACTOR_RESET_SECONDS = "600"
_TOKEN = Path.home() / ".ray" / "auth_token"
PREEMPTION_POLL_SECONDS = "1"  # Ray Train's default of 5 s is a lot of a two-minute notice


@contextlib.contextmanager
def ray_backend(site: Site, stages: Sequence[Stage]) -> Iterator[Backend]:
    """A backend on the cluster that RAY_ADDRESS names, else on a local one that ends with us.

    Interrupted, or terminated as a stopped job is, it has training save before it leaves.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    _set_defaults(local=address == "local")
    import ray

    from ray_slm.cluster.backend import RayBackend
    from ray_slm.cluster.measured import MeasuredBackend

    _keep_keys_at_home()
    ray.init(
        address=address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": worker_environment()},
        **(_local_limits() if address == "local" else {}),
    )
    fixed = ray.cluster_resources() if address == "local" else None
    backend = RayBackend(site, stages, fixed)
    try:
        with _termination_interrupts():
            try:
                yield MeasuredBackend(backend, stages, site.store)
            except KeyboardInterrupt:
                backend.save_now(STOP_PATIENCE_SECONDS)
                raise
    finally:
        backend.abandon()
        ray.shutdown()
        with contextlib.suppress(FencedError):  # they are another driver's then
            site.store.remove_foreign()  # also what a killed driver left


def processors(*, gpus: bool) -> float:
    """GPUs of the cluster, or its processors: the machine's own cores where it is one machine."""
    import ray

    if gpus:
        return float(ray.cluster_resources().get("GPU", 0.0))
    if os.environ.get("RAY_ADDRESS", "local") == "local":
        return float(os.cpu_count() or 1)
    return float(ray.cluster_resources().get("CPU", 1.0))


def _set_defaults(*, local: bool) -> None:
    """What Ray reads from the environment of whoever starts or joins a cluster."""
    wanted = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": HEALTH_CHECK_SECONDS,
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": PREEMPTION_POLL_SECONDS,
        # Many controllers in one process would each set logging up, beside threads that log.
        "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
        "RAY_worker_maximum_startup_concurrency": STARTUP_CONCURRENCY,
        "RAY_DATA_LOG_LEVEL": "ERROR",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that outlives the session must not start Ray
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",  # Tune heeds verbose=0 in the old style only
    }
    if local:
        wanted["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # nobody takes it away
        wanted["RAY_AUTH_MODE"] = "token"  # other users of this machine can reach its ports
        wanted["RAY_BACKEND_LOG_LEVEL"] = "fatal"  # errors come back as exceptions
        _own_token()
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def _keep_keys_at_home() -> None:
    """Have Tune leave the driver's AWS keys out of its trials' environments, which Ray logs.

    Workers have their node's keys, like all others that read and write the store.
    """
    from ray.tune.execution import class_cache

    keys = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(keys)


def _local_limits() -> dict[str, object]:
    return {
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "num_cpus": LOCAL_CPUS_PER_CORE * (os.cpu_count() or 1),
    }


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """A stopped job gets SIGTERM: it ends as by Ctrl-C, with what it trained saved."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def job_server_address() -> str:
    """Where `ray job` would submit to.  Makes this process send the user's token, if there is one.

    Ray's own clients leave the token at home unless told.  A driver must not be told: it would
    then refuse what a cluster without tokens says to it, and lose every actor it makes.
    """
    if _TOKEN.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return os.environ.get("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")


def worker_environment() -> dict[str, str]:
    """One thread per process: parallelism is Ray's, and single threads keep results equal.

    Arrow's own allocator would keep tens of megabytes that a worker no longer needs.
    """
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    device = {DEVICE: os.environ[DEVICE]} if DEVICE in os.environ else {}
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    patient = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": ACTOR_RESET_SECONDS}
    return {**single, **device, **offline, **patient, "ARROW_DEFAULT_MEMORY_POOL": "system"}


def train_settings() -> dict[str, str]:
    """What of the driver's environment Ray Train's controllers read."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_TRAIN_")}


def forced_device() -> str | None:
    """The device that RAY_SLM_DEVICE gives all training workers, if it is set.

    "cpu" rehearses how a study for GPUs is scheduled on nodes that only claim to have some.
    """
    return os.environ.get(DEVICE)


def _own_token() -> None:
    """Have a token that its owner alone can read, before Ray writes one for everyone to read."""
    _TOKEN.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(_TOKEN, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        if _TOKEN.stat().st_uid == os.getuid():
            _TOKEN.chmod(0o600)
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
