"""Hand a study to a Ray cluster as a job: what is sent, how it is followed, stopped and resumed.

What is sent is the working tree as git sees it (tracked and new files, nothing ignored), the
user's study file if it lies elsewhere, and a file with the commit's name for the records.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from ray_slm.cluster.session import job_server_address
from ray_slm.errors import EXIT_INFRASTRUCTURE, EXIT_INTERRUPTED, ResourceError
from ray_slm.stages.site import COMMIT_FILE, made_with

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PROJECT = Path(__file__).resolve().parents[2]
STOP_WAIT_SECONDS = 60  # Ray's default of 3 s kills a driver whose runs are still saving
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
JOB_FILE = ".ray_slm_job"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Job(NamedTuple):
    """What was submitted, and where."""

    id: str
    address: str
    again: str  # the command that submits it once more

    def __str__(self) -> str:
        """The lines that a user needs from here on."""
        ray = f"ray job {{}} --address {self.address} {self.id}"
        return (
            f"job    {self.id}\n"
            f"tail   {ray.format('logs')} --follow\n"
            f"stop   {ray.format('stop')}   (training saves first)\n"
            f"resume {self.again}"
        )


def submit(
    study: str,
    root: str,
    address: str,
    places: Sequence[str],
    *,
    packages: str = "lock",
    rehearse: bool = False,
) -> Job:
    """Submit `jobs/study.py` for a study, or for its rehearsal.

    ``address`` is a job server's, or "".  ``places`` are NAME=PATH as the cluster sees them.

    Raises:
        ValueError: for what cannot work on a cluster.
        ResourceError: when no job server answers, or one that is open to everybody.
    """
    _refuse_relative(root)
    address = address or job_server_address()
    refuse_open_server(address)
    options = [*_places(places), *(["--rehearse"] if rehearse else [])]
    job_id = f"{Path(study).stem}-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        command = ["jobs/study.py", pack(Path(folder), study), "--root", root, *options]
        # Ray names a package by its content and drops it with the first job that brought it.
        (Path(folder) / JOB_FILE).write_text(job_id)
        job = partial(
            _connect(address).submit_job,
            entrypoint=shlex.join(["python", *command]),
            submission_id=job_id,
            metadata={"study": study, "root": root, "commit": str(made_with()["commit"])},
        )
        _when_ready(partial(job, runtime_env=runtime_env(Path(folder), packages)))
    again = ["ray-slm", "submit", study, "--root", root, "--address", address, *options]
    return Job(job_id, address, shlex.join([*again, "--packages", packages]))


def _when_ready(submit_job: Callable[[], str]) -> None:
    """Submit; a head that was started just now needs a moment before it takes jobs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            submit_job()
            return
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise ResourceError(f"the cluster takes no job yet ({error}); try again") from error
        time.sleep(1.0)


def _places(places: Sequence[str]) -> list[str]:
    return [word for place in places for word in ("--place", place)]


def follow(job: Job) -> int:
    """Print a job's log until it ends; the exit code of its driver.  Ctrl-C leaves it running."""
    from ray.job_submission import JobStatus

    client = _connect(job.address)
    shown = 0
    while True:
        ended = client.get_job_status(job.id).is_terminal()
        log = client.get_job_logs(job.id)
        sys.stdout.write(log[shown:])
        sys.stdout.flush()
        shown = len(log)
        if ended:
            break
        time.sleep(POLL_SECONDS)
    found = client.get_job_info(job.id)
    if found.status == JobStatus.SUCCEEDED:
        return 0
    if found.status == JobStatus.STOPPED:
        return EXIT_INTERRUPTED
    print(f"job {job.id} failed: {found.message}", file=sys.stderr)
    return int(found.driver_exit_code or EXIT_INFRASTRUCTURE)


def runtime_env(folder: Path, packages: str) -> dict[str, object]:
    """The job's environment: our files, the lock's packages, and time to save when stopped.

    ``packages`` is "lock" to install what the lock pins and a node lacks, or "nodes" to take the
    nodes as they are, which were set up from the lock.
    """
    if packages not in ("lock", "nodes"):
        raise ValueError(f"--packages {packages!r}: use lock or nodes")
    env: dict[str, object] = {
        "working_dir": str(folder),
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_SECONDS)},
    }
    if packages == "lock":
        env["pip"] = {"packages": locked_packages(folder), "pip_check": False}
    return env


def locked_packages(project: Path) -> list[str]:
    """The project's dependencies at the versions of its lock.

    Ray is left out: a job runs on the Ray that its cluster runs, and cannot change it.
    """
    lines = (project / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    found = []
    for requirement in map(Requirement, declared):
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        version = pins.pop(requirement.name, None)
        wanted = f"=={version}" if version else str(requirement.specifier)
        found.append(f"{requirement.name}{extras}{wanted}")
    found += [f"{name}=={version}" for name, version in pins.items()]
    return [package for package in found if not package.startswith(("ray[", "ray="))]


def pack(folder: Path, study: str) -> str:
    """Copy what the job needs into ``folder``; the study's name or path as the job knows it."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=PROJECT, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise ValueError(f"{PROJECT} is no git checkout: submit from one, git tells what to send")
    for name in filter(None, found.stdout.split("\0")):
        source, target = PROJECT / name, folder / name
        if source.is_file():  # not one that was deleted and is still in the index
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (folder / COMMIT_FILE).write_text(str(made_with()["commit"]))
    if not study.endswith(".py"):
        return study
    sent = folder / "studies" / Path(study).name
    sent.parent.mkdir(exist_ok=True)
    shutil.copy2(study, sent)
    return str(sent.relative_to(folder))


def refuse_open_server(address: str) -> None:
    """Raise ResourceError for a job server on the network that asks for no token."""
    host = urlsplit(address).hostname
    if host in LOOPBACK:
        return  # this machine, or the end of a tunnel
    request = urllib.request.Request(f"{address.rstrip('/')}/api/jobs/")
    try:
        with urllib.request.urlopen(request, timeout=10):
            pass
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return
        raise ResourceError(f"{address} answers {error.code}: is it a Ray job server?") from None
    except urllib.error.URLError as error:
        raise ResourceError(f"no job server at {address}: {error.reason}") from None
    raise ResourceError(
        f"{address} runs what anybody on the network sends it: start its head with "
        "RAY_AUTH_MODE=token and --dashboard-host=127.0.0.1, and reach it by `ray dashboard`"
    )


def _refuse_relative(root: str) -> None:
    if "://" not in root and not Path(root).is_absolute():
        raise ValueError(
            f"--root {root!r} is relative, and a job runs in a copy of this folder: give the "
            "absolute path of a folder that every node mounts, or s3://BUCKET/PREFIX"
        )


def _connect(address: str) -> "JobSubmissionClient":
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except ConnectionError:
        raise ResourceError(
            f"no Ray job server answers at {address}: start a cluster (`ray up cluster.yaml`), "
            "run `ray dashboard cluster.yaml` for a tunnel to it, or give --address"
        ) from None
