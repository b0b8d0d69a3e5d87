"""Studies as jobs of a Ray cluster: submitted, stopped, submitted again."""

import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
from importlib.metadata import version
from typing import ClassVar

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from ray_slm.cluster import submit as jobs
from ray_slm.errors import ResourceError
from ray_slm.scheduling.plan import plan, up_to
from ray_slm.study import load_study
from tests import smoke
from tests.cluster import nodes


def submit(study, root, address, *options):
    command = [sys.executable, "-m", "ray_slm", "submit", str(study), "--root", str(root)]
    place = f"assets={smoke.REPOSITORY / '.assets'}"
    command += ["--address", address, "--packages", "nodes", "--place", place, *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=smoke.REPOSITORY
    )


@pytest.mark.cluster
def test_a_stopped_job_saves_and_the_next_one_goes_on_from_there(speech, undisturbed, tmp_path):
    root = tmp_path / "root"
    with nodes.cluster(head_cpus=4, dashboard=True) as cluster:
        address = f"http://{cluster.webui_url}"
        found = submit(speech, root, address, "--no-wait")
        assert found.returncode == 0, found.stderr
        job = re.search(r"^job +(speech-\w+)$", found.stdout, re.M)[1]
        for line in ("tail   ray job logs", "stop   ray job stop", "resume ray-slm submit"):
            assert line in found.stdout
        client = JobSubmissionClient(address)

        def ended():
            return client.get_job_status(job).is_terminal()

        nodes.wait_until(lambda: nodes.steps(root) > 3 or ended())
        assert not ended(), client.get_job_logs(job)
        client.stop_job(job)
        nodes.wait_until(ended)
        log = client.get_job_logs(job)
        assert client.get_job_status(job) == JobStatus.STOPPED
        assert "stopping: asked 1 training runs to save" in log
        assert "did not save in time" not in log
        saved = max(
            int(p.name.split("-")[1]) for p in root.glob("train/*/*/*/scratch/resume/step-*")
        )
        assert saved > 0  # the only earlier one is of step 0, at the first checkpoint
        commit = smoke_commit()
        found = submit(speech, root, address)
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.search(r"\[#+\.*\] \d+/\d+ stages", found.stdout), "no progress lines"
    assert "\r" not in found.stdout
    (summary,) = root.glob("train/*/*/*/record.json")
    record = json.loads(summary.read_text())
    assert record["summary"]["attempts"] == 2
    assert record["made"]["commit"] == commit
    assert smoke.digest(str(speech), root) == undisturbed


def smoke_commit():
    described = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.check_output(described, cwd=smoke.REPOSITORY, text=True).strip()


class JobServer(http.server.BaseHTTPRequestHandler):
    """As much of Ray's as a submission needs; keeps what it was asked to run."""

    jobs: list[dict]

    def do_GET(self):
        self.answer({"version": "4", "ray_version": "2.60.0", "ray_commit": ""})

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def do_POST(self):
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.jobs.append(job)
        self.answer({"job_id": None, "submission_id": job["submission_id"]})

    def answer(self, found):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def job_server():
    """(address, submitted jobs) of a server that runs none of them."""

    class Own(JobServer):
        jobs: ClassVar = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", Own.jobs
        server.shutdown()
        thread.join()


def test_a_rehearsal_is_submitted_with_its_options_and_resumed_by_the_printed_line(job_server):
    address, submitted = job_server
    command = [sys.executable, "-m", "ray_slm", "submit", "paper", "--root", "s3://bucket/runs"]
    command += ["--address", address, "--rehearse", "--no-wait", "--place", "assets=s3://bucket/a"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=smoke.REPOSITORY)
    assert found.returncode == 0, found.stderr
    (again,) = re.findall(r"^resume ray-slm (.+)$", found.stdout, re.M)
    resumed = [sys.executable, "-m", "ray_slm", *shlex.split(again), "--no-wait"]
    subprocess.run(resumed, capture_output=True, check=True, cwd=smoke.REPOSITORY)
    options = "--root s3://bucket/runs --place assets=s3://bucket/a --rehearse"
    assert [job["entrypoint"] for job in submitted] == [f"python jobs/study.py paper {options}"] * 2
    assert len({job["submission_id"] for job in submitted}) == 2
    for job in submitted:
        packages = job["runtime_env"]["pip"]["packages"]
        assert f"mlflow=={version('mlflow')}" in packages
        assert not any(package.startswith("ray") for package in packages)


def test_a_relative_root_is_refused_before_anything_is_sent(tmp_path):
    found = submit("smoke", "runs", "http://127.0.0.1:1")
    assert found.returncode == 2
    assert "absolute path" in found.stderr


def test_no_server_is_one_line_with_the_remedy(tmp_path):
    found = submit("smoke", tmp_path, "http://127.0.0.1:1")
    assert found.returncode == 4
    assert "no Ray job server answers" in found.stderr
    assert "ray dashboard" in found.stderr


@pytest.mark.parametrize("verb", ["study", "tokenize", "train", "evaluate", "report"])
def test_a_job_file_runs_as_a_script(verb):
    """Also jobs/tokenize.py, whose name is that of a module of Python's."""
    command = [sys.executable, f"jobs/{verb}.py", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=smoke.REPOSITORY)
    assert found.returncode == 0, found.stderr
    assert "--root" in found.stdout


def test_a_job_of_one_verb_stops_after_it(tmp_path):
    stages = plan(load_study("smoke"))
    kinds = {stage.name.split("/")[0] for stage in up_to(stages, "train")}
    assert kinds == {"corpus", "items", "vocabulary", "tokens", "train"}
    assert up_to(stages, "report") == stages
    with pytest.raises(ValueError, match=r"'trian'.*tokenize, train, evaluate, report"):
        up_to(stages, "trian")


def test_a_job_gets_the_tree_that_git_sees_and_the_users_study(tmp_path):
    study, folder = tmp_path / "mine.py", tmp_path / "sent"
    study.write_text("STUDY = None\n")
    folder.mkdir()
    assert jobs.pack(folder, str(study)) == "studies/mine.py"
    assert (folder / "studies/mine.py").read_text() == "STUDY = None\n"
    assert (folder / "jobs/study.py").is_file()
    assert (folder / "ray_slm/cli.py").is_file()
    assert (folder / "COMMIT").read_text() == smoke_commit()
    names = {path.name for path in folder.iterdir()}
    assert names.isdisjoint({".venv", ".assets", ".git", "runs"})
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 100 * 2**20
    assert jobs.pack(folder, "smoke") == "smoke"


@pytest.mark.parametrize(("code", "refused"), [(200, "runs what anybody"), (401, None)])
def test_a_server_that_asks_nobody_who_they_are_gets_nothing(code, refused):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://0.0.0.0:{server.server_address[1]}"  # as any host that is not loopback
        try:
            if refused:
                with pytest.raises(ResourceError, match=refused):
                    jobs.refuse_open_server(address)
            else:
                jobs.refuse_open_server(address)
        finally:
            server.shutdown()
            thread.join()
