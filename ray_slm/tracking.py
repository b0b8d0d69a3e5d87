"""The MLflow mirror: a thread that copies journals and scores, and never makes training wait.

Records and journals are the truth; the mirror can be deleted and is rebuilt by the next run or by
``sync``.  Every point keeps the time at which it was measured, so sending it twice stores it once.
"""

import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from ray_slm import tracked
from ray_slm.scheduling.identity import fingerprint_of_canonical
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.study import Study

logger = logging.getLogger(__name__)

EXPERIMENT = "ray_slm"
FINGERPRINT_TAG = "ray_slm.fingerprint"
SYNC_SECONDS = 10.0
BATCH = 1000  # metrics in one log_batch, MLflow's limit
PARAMS_BATCH = 100
DATABASE = "mlflow.db"
SCHEMES = ("http", "https", "sqlite")
# A server that is away must not hold the thread for minutes: it tries again by itself.
HTTP_RETRIES, HTTP_SECONDS = 1, 10


def check_uri(uri: str) -> None:
    """Refuse what MLflow would fail on again and again, and secrets that would be printed."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise ValueError(
            f"--tracking-uri {uri!r}: use http://HOST:PORT or https:// of an MLflow server, or "
            "sqlite:///FILE; without it metrics go to mlflow.db in the root"
        )
    if parts.password is not None:
        raise ValueError(
            f"--tracking-uri has a password for {parts.hostname}: pass it in the environment, "
            "as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


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

    def __enter__(self) -> "Mirror":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.sync(f"the mirror is behind; `ray-slm sync {self._study.name}` brings it up to date")

    def _loop(self) -> None:
        while not self._stop.wait(SYNC_SECONDS):
            self.sync("the MLflow mirror is behind, trying again")

    def sync(self, trouble: str) -> bool:
        """Send what is new; False, and a line with ``trouble``, when MLflow cannot be reached."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._client is None:
                self._client = MirrorClient(self._study, self._stages, self._store, self._uri)
            self._client.sync()
        except (MlflowException, SQLAlchemyError, OSError) as error:
            first = str(error).strip().splitlines()[:1]
            logger.warning("%s: %s", trouble, *(first or [type(error).__name__]))
            return False
        return True


class MirrorClient:
    """One parent run for the study, one child for each training run; `sync` sends what is new."""

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
        self._runs: dict[str, str] = {}
        self._journals = {stage.address: tracked.Journals() for stage in tracked.trainings(stages)}
        self._published: dict[str, int] = {}
        self._sent: set[str] = set()
        self._reports = [stage for stage in stages if stage.name.startswith("report/")]

    def sync(self) -> None:
        """Send journal lines, scores and ends of runs that were not sent by this process."""
        for stage in self._stages:
            if stage.address in self._sent:
                continue
            if stage.address in self._journals and self._store.path(stage.address).exists():
                self._sync_run(stage)
            elif stage.name.startswith(("evaluate/", "continue/")) and self._store.has(
                stage.address
            ):
                run_id = self._run_id(stage.inputs["checkpoint"].stage)
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

    def _run_of(self, name: str, fingerprint: str, tags: dict[str, str]) -> str:
        """The run tagged with this fingerprint, made when there is none."""
        query = f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"
        for run in self._client.search_runs([self._experiment], query, max_results=1):
            return str(run.info.run_id)
        tags = {FINGERPRINT_TAG: fingerprint, **tags}
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _run_id(self, stage: Stage) -> str:
        if stage.address not in self._runs:
            _, modality, seed = stage.name.split("/", 2)
            tags = {
                "mlflow.parentRunId": self._parent,
                "ray_slm.modality": modality,
                "ray_slm.seed": seed.removeprefix("seed-"),
                "ray_slm.address": stage.address,
                "ray_slm.location": f"{self._store.location}/{stage.address}",
            }
            run_id = self._run_of(f"{modality} {seed}", stage.fingerprint, tags)
            self._log_params(run_id, stage)
            self._runs[stage.address] = run_id
        return self._runs[stage.address]

    def _log_params(self, run_id: str, stage: Stage) -> None:
        """The recipe's plain fields as parameters, the whole identity as an artifact."""
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in tracked.parameters(stage).items()]
        for start in range(0, len(params), PARAMS_BATCH):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_BATCH])
        identity = stage.identity
        assert isinstance(identity, dict)
        self._client.log_dict(run_id, identity, "identity.json")

    def _sync_run(self, stage: Stage) -> None:
        run_id, journals = self._run_id(stage), self._journals[stage.address]
        self._send(run_id, journals.new_points(stage, self._store))
        journals.confirm()
        self._sync_checkpoints(run_id, stage)
        if self._store.has(stage.address):
            card = tracked.model_card(stage, self._study, self._store)
            self._client.log_text(run_id, card, "model_card.md")
            self._client.set_tag(run_id, "mlflow.note.content", card)
            self._client.set_terminated(run_id)
            self._sent.add(stage.address)

    def _sync_checkpoints(self, run_id: str, stage: Stage) -> None:
        """Addresses and digests of what is published; the weights stay in the store."""
        found = tracked.checkpoints(stage, self._store)
        if len(found) > self._published.get(stage.address, 0):
            self._client.log_text(run_id, json.dumps(found, indent=1), "checkpoints.json")
            newest = str(found[-1]["location"])
            self._client.set_tag(run_id, "ray_slm.newest_checkpoint", newest)
            self._published[stage.address] = len(found)

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
