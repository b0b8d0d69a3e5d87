"""The MLflow mirror: a thread that copies journals and scores, and never makes training wait.

Records and journals are the truth; the mirror can be deleted and is rebuilt by the next run.
Every point keeps the time at which it was measured, so sending it twice stores it once.
"""

import json
import logging
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ray_slm.scheduling.identity import fingerprint_of_canonical
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import SCRATCH, Store
from ray_slm.study import Study

logger = logging.getLogger(__name__)

EXPERIMENT = "ray_slm"
FINGERPRINT_TAG = "ray_slm.fingerprint"
SYNC_SECONDS = 10.0
BATCH = 1000  # MLflow's limit for one log_batch
DATABASE = "mlflow.db"


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
    """Mirror one study while it runs; leaving the context sends what is left."""

    def __init__(self, study: Study, stages: Sequence[Stage], store: Store) -> None:
        self._study, self._stages, self._store = study, stages, store
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
        self._sync("the mirror is behind; the next run brings it up to date")

    def _loop(self) -> None:
        while not self._stop.wait(SYNC_SECONDS):
            self._sync("the MLflow mirror is behind, trying again")

    def _sync(self, trouble: str) -> None:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            if self._client is None:
                self._client = MirrorClient(self._study, self._stages, self._store)
            self._client.sync()
        except (MlflowException, SQLAlchemyError, OSError) as error:
            logger.warning("%s: %s", trouble, error)


class MirrorClient:
    """One parent run for the study, one child for each training run; `sync` sends what is new."""

    def __init__(self, study: Study, stages: Sequence[Stage], store: Store) -> None:
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # not a line per migrated table
        self._store = store
        make_database(store.root / DATABASE)
        self._client = MlflowClient(f"sqlite:///{store.root / DATABASE}")
        found = self._client.get_experiment_by_name(EXPERIMENT)
        location = (store.root / "mlflow-artifacts").as_uri()
        self._experiment = (
            found.experiment_id if found else self._client.create_experiment(EXPERIMENT, location)
        )
        whole = fingerprint_of_canonical([stage.address for stage in stages])
        self._parent = self._run_of(study.name, whole, {})
        self._runs: dict[str, str] = {}
        self._offsets: dict[Path, int] = {}
        self._sent: set[str] = set()
        self._stages = stages
        self._report = stages[-1]

    def sync(self) -> None:
        """Send journal lines, scores and ends of runs that were not sent by this process."""
        for stage in self._stages:
            kind = stage.name.split("/")[0]
            if kind == "train" and self._store.path(stage.address).exists():
                self._sync_run(stage)
            elif kind == "evaluate" and stage.address not in self._sent:
                self._sync_evaluation(stage)
        if self._store.has(self._report.address) and self._report.address not in self._sent:
            folder = self._store.path(self._report.address)
            for name in ("index.html", "tables.json"):
                self._client.log_artifact(self._parent, str(folder / name), "report")
            self._client.set_terminated(self._parent)
            self._sent.add(self._report.address)

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
            _, modality, seed = stage.name.split("/")
            tags = {
                "mlflow.parentRunId": self._parent,
                "ray_slm.modality": modality,
                "ray_slm.seed": seed.removeprefix("seed-"),
                "ray_slm.address": stage.address,
            }
            run_id = self._run_of(f"{modality} {seed}", stage.fingerprint, tags)
            self._log_params(run_id, stage)
            self._runs[stage.address] = run_id
        return self._runs[stage.address]

    def _log_params(self, run_id: str, stage: Stage) -> None:
        """The recipe's plain fields as parameters, the whole identity as an artifact."""
        identity = stage.identity
        assert isinstance(identity, dict)
        for field, value in identity["recipe"].items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for name, part in parts:
                if isinstance(part, (int, float, str)):
                    self._client.log_param(run_id, f"{field}.{name}".rstrip("."), part)
        self._client.log_dict(run_id, identity, "identity.json")

    def _sync_run(self, stage: Stage) -> None:
        run_id = self._run_id(stage)
        scratch = self._store.path(stage.address) / SCRATCH
        for journal in sorted(scratch.glob("journal-*.jsonl")):
            self._send(run_id, self._new_lines(journal))
        if self._store.has(stage.address) and stage.address not in self._sent:
            self._send(run_id, self._new_lines(self._store.path(stage.address) / "timing.jsonl"))
            self._client.set_terminated(run_id)
            self._sent.add(stage.address)

    def _sync_evaluation(self, stage: Stage) -> None:
        if not self._store.has(stage.address):
            return
        record = self._store.record(stage.address)
        tokens = int(stage.name.split("/")[3])
        at = round(record["written_at"] * 1000)
        train = stage.inputs["checkpoint"].stage
        points = [
            {"time": at / 1000, "tokens": tokens, name: value}
            for name, value in record["summary"].get("metrics", {}).items()
        ]
        self._send(self._run_id(train), points)
        self._sent.add(stage.address)

    def _new_lines(self, journal: Path) -> list[dict]:
        """Whole lines that were not read before."""
        if not journal.exists():
            return []
        with journal.open("rb") as file:
            file.seek(self._offsets.get(journal, 0))
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offsets[journal] = self._offsets.get(journal, 0) + len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _send(self, run_id: str, points: Sequence[dict]) -> None:
        """Numbers against tokens; what is not finite is left to the journal."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, float(value), round(point["time"] * 1000), int(point["tokens"]))
            for point in points
            for name, value in point.items()
            if name not in ("time", "tokens")
            and isinstance(value, (int, float))
            and math.isfinite(value)
        ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])
