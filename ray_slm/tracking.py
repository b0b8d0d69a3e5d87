"""The MLflow mirror: a thread that copies journals and scores, and never makes training wait.

Records and journals are the truth; the mirror can be deleted and is rebuilt by the next run or by
``sync``.  Every point keeps the time at which it was measured, so sending it twice stores it once.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray_slm import tracked
from ray_slm.errors import StorageError
from ray_slm.scheduling.identity import fingerprint_of_canonical
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.study import Study
from ray_slm.tracking_address import check_uri

logger = logging.getLogger(__name__)

EXPERIMENT = "ray_slm"
FINGERPRINT_TAG = "ray_slm.fingerprint"
SYNC_SECONDS, LONGEST_SECONDS = 10.0, 90.0
CPU_SHARE = 0.002  # of a processor, at most, unless the longest pause is over
BATCH = 1000  # metrics in one log_batch, MLflow's limit
PARAMS_BATCH = 100  # as many as MLflow takes at once
DATABASE = "mlflow.db"
SCORED = ("evaluate/", "continue/")
# A server that is away must not hold the thread for minutes: it tries again by itself.
HTTP_RETRIES, HTTP_SECONDS = 1, 10


def make_database(path: Path) -> None:
    """Make MLflow's tables under another name first: half of them could never be completed.

    A driver killed between two of MLflow's migrations leaves a database that no later run opens.
    """
    from mlflow import MlflowClient

    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{draft}")
    draft.replace(path)


class Mirror:
    """Mirror one study while it runs; leaving the context sends what is left.

    ``uri`` is of an MLflow server; without one the mirror is a file in the root.
    """

    def __init__(
        self, study: Study, stages: Sequence[Stage], store: Store, uri: str | None = None
    ) -> None:
        if uri is not None:
            check_uri(uri)
        self._study, self._stages, self._store, self._uri = study, stages, store, uri
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-mirror", daemon=True)
        self._client: MirrorClient | None = None
        self._tables: Path | None = None

    def __enter__(self) -> "Mirror":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        self.sync(f"the mirror is behind; `ray-slm sync {self._study.name}` brings it up to date")

    def conclude(self, tables: Path) -> None:
        """Nothing will be added to what is not done: leave no run open, and send a folder along."""
        self._tables = tables

    def _loop(self) -> None:
        pause = SYNC_SECONDS
        while not self._stop.wait(pause):
            before = time.thread_time()
            self.sync("the MLflow mirror is behind, trying again")
            spent = time.thread_time() - before
            pause = max(SYNC_SECONDS, min(spent / CPU_SHARE, LONGEST_SECONDS))

    def sync(self, trouble: str) -> bool:
        """Send what is new; False, and a line with ``trouble``, when MLflow cannot be reached."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._client is None:
                self._client = MirrorClient(self._study, self._stages, self._store, self._uri)
            self._client.sync()
            if self._tables is not None:
                self._client.conclude(self._tables)
        except (MlflowException, SQLAlchemyError, OSError, StorageError) as error:
            first = str(error).strip().splitlines()[:1]
            logger.warning("%s: %s", trouble, *(first or [type(error).__name__]))
            return False
        return True


class MirrorClient:
    """A parent run for the study, a child for each of its lines; `sync` sends what is new."""

    def __init__(
        self, study: Study, stages: Sequence[Stage], store: Store, uri: str | None = None
    ) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not a line per migrated table
        self._study, self._stages, self._store = study, stages, store
        self._client, location = _connect(store, uri)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment(EXPERIMENT, location)
        )
        whole = fingerprint_of_canonical([stage.address for stage in stages])
        about = {"mlflow.note.content": f"{study.question}\n\n{study.notice}"}
        self._parent = self._run_of(study.name, whole, about)
        self._runs: dict[str, str] = {}  # by the trunk's address
        self._lines = tracked.lines(stages)
        self._journals = {stage.address: tracked.Journals() for stage in stages}
        self._published: dict[str, int] = {}  # checkpoints, by run
        self._sent: set[str] = set()  # addresses of stages
        self._ended: set[tuple[str, str]] = set()  # lines
        self._reports = [stage for stage in stages if stage.name.startswith("report/")]

    def sync(self) -> None:
        """Send journal lines, scores and ends of runs that were not sent by this process."""
        unsent = [stage for stage in self._stages if stage.address not in self._sent]
        inputs = {a.address for stage in unsent for a in stage.inputs.values()}
        whole = self._store.present(inputs | {stage.address for stage in unsent})
        for key in self._lines.keys() - self._ended:
            self._sync_line(key, whole)
        for stage in unsent:
            if stage.name.startswith(SCORED) and stage.address in whole:
                run_id = self._run_id(self._lines[tracked.line_of(stage)])
                self._send(run_id, tracked.scores(stage, self._store))
                self._sent.add(stage.address)
        for report in self._reports:
            if report.address in self._sent or not self._store.has(report.address):
                continue
            folder = self._store.path(report.address)
            for name in ("index.html", "tables.json"):
                self._client.log_artifact(self._parent, str(folder / name), "report")
            self._client.set_terminated(self._parent)
            self._sent.add(report.address)

    def conclude(self, tables: Path) -> None:
        """End all runs, those of trials that were stopped early too."""
        for address, run_id in self._runs.items():
            if address not in self._sent:
                self._client.set_terminated(run_id, "KILLED")
        self._client.log_artifacts(self._parent, str(tables), tables.name)
        self._client.set_terminated(self._parent)

    def _run_of(self, name: str, fingerprint: str, tags: dict[str, str]) -> str:
        """The run tagged with this fingerprint, made when there is none."""
        query = f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"
        for run in self._client.search_runs([self._experiment], query, max_results=1):
            return str(run.info.run_id)
        tags = {FINGERPRINT_TAG: fingerprint, **tags}
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _run_id(self, line: tracked.Line) -> str:
        address = line.trunk.address
        if address not in self._runs:
            tags = {
                "mlflow.parentRunId": self._parent,
                "ray_slm.modality": line.modality,
                "ray_slm.seed": line.label.removeprefix("seed-"),
                "ray_slm.address": address,
                "ray_slm.location": f"{self._store.location}/{address}",
            }
            run_id = self._run_of(f"{line.modality} {line.label}", line.trunk.fingerprint, tags)
            self._log_params(run_id, line)
            self._runs[address] = run_id
        return self._runs[address]

    def _log_params(self, run_id: str, line: tracked.Line) -> None:
        """The recipe's plain fields as parameters, whole identities as an artifact."""
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in tracked.parameters(line).items()]
        assert len(params) <= PARAMS_BATCH, len(params)
        self._client.log_batch(run_id, params=params)
        identities = {stage.name: stage.identity for stage in line.stages}
        self._client.log_dict(run_id, identities, "identity.json")

    def _sync_line(self, key: tuple[str, str], whole: Set[str]) -> None:
        """What is new of a run and its branches; ``whole`` are results and parts there are."""
        line = self._lines[key]
        for stage in line.stages:
            ready = all(artifact.address in whole for artifact in stage.inputs.values())
            if stage.address in self._sent or not (ready or stage.address in whole):
                continue
            journals = self._journals[stage.address]
            if points := journals.new_points(stage, self._store):
                self._send(self._run_id(line), points)
                journals.confirm()
            self._sent |= whole & {stage.address}
        if line.trunk.address in self._runs:
            self._sync_checkpoints(line)
        if all(stage.address in self._sent for stage in line.stages):
            run_id, card = self._run_id(line), tracked.model_card(line, self._study, self._store)
            self._client.log_text(run_id, card, "model_card.md")
            self._client.set_tag(run_id, "mlflow.note.content", card)
            self._client.set_terminated(run_id)
            self._ended.add(key)

    def _sync_checkpoints(self, line: tracked.Line) -> None:
        """Addresses and digests of what is published; the weights stay in the store."""
        run_id, there = self._run_id(line), tracked.published(line, self._store)
        if len(there) > self._published.get(run_id, 0):
            found = tracked.checkpoints(there, self._store)
            self._client.log_text(run_id, json.dumps(found, indent=1), "checkpoints.json")
            newest = str(found[-1]["location"])
            self._client.set_tag(run_id, "ray_slm.newest_checkpoint", newest)
            self._published[run_id] = len(found)

    def _send(self, run_id: str, points: Sequence[tracked.Point]) -> None:
        """Numbers against tokens, each at the time at which it was measured."""
        from mlflow.entities import Metric

        metrics = [Metric(p.name, p.value, round(p.time * 1000), p.tokens) for p in points]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])


def _connect(store: Store, uri: str | None) -> tuple[Any, str | None]:
    """A client, and where artifacts of a new experiment go: None leaves it to the server."""
    from mlflow import MlflowClient, environment_variables

    if uri is not None and not uri.startswith("sqlite"):
        environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(HTTP_RETRIES)
        environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT.set(HTTP_SECONDS)
        return MlflowClient(uri), None
    path = Path(urlsplit(uri).path[1:]) if uri else store.root / DATABASE
    make_database(path)
    location = path.parent / "mlflow-artifacts"
    return MlflowClient(f"sqlite:///{path}"), location.resolve().as_uri()
