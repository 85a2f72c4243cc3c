"""MLflow shows: a mirror of the ledger, written by a thread of its own.

The mirror keeps no truth. For each run it compares what MLflow has with what the sweep's folder has and sends the rest,
so it may be down for an hour, start late or run twice: nothing is lost and nothing is doubled. It never stops a sweep.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from tuner.confirmed import FILE as CONFIRMED
from tuner.confirmed import main_numbers, read_confirmed
from tuner.records import (
    MASKING_FAILURES,
    SWEEP,
    VERDICTS,
    Record,
    Tier,
    flatten,
    masking_checks,
    read_metrics,
    read_verdict,
)
from tuner.sweep import Sweep

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "adversarial-tuner"
_METRICS_PER_BATCH, _PARAMS_PER_BATCH, _PARAM_LENGTH = 1000, 100, 6000
_GATHER_S = 1.0
_RETRY_S = (1.0, 30.0)
_STATUS = {"running": "RUNNING", "complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_SWEEP_TAG, _KEY_TAG, _PARENT_TAG = "tuner.sweep_id", "tuner.run", "mlflow.parentRunId"
_CONFIRM_TAG = "tuner.confirm"
_VERDICT_TAGS: dict[Tier, str] = {"rank": "tuner.test", "final": "tuner.final"}
_FILE_TAGS = (*_VERDICT_TAGS.values(), _CONFIRM_TAG)


def tracking_uri(home: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI``, or else a database in the sweeps' home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


@dataclass
class _Mirrored:
    """What MLflow has of a run."""

    run_id: str
    last_step: int
    status: str
    has_params: bool
    sent: dict[str, str] = field(default_factory=dict)  # digests of files, by their tags


class MlflowWriter:
    """Brings MLflow up to date with one sweep, run by run. Every method may raise whatever MLflow raises."""

    def __init__(self, sweep: Sweep, provenance: dict[str, Any]) -> None:
        self._sweep = sweep
        self._provenance = provenance
        self._client = _connect(sweep.folder.parent)
        self._experiment_id = _experiment(self._client, sweep.folder.parent)
        self._mirrored = self._find()
        versions = {f"version.{package}": version for package, version in provenance["versions"].items()}
        about = {"tuner.kind": "sweep", "mlflow.note.content": sweep.space.description}
        self._parent = self._mirrored.get(SWEEP) or self._create(SWEEP, sweep.name, {**about, **versions})

    def _find(self) -> dict[str, _Mirrored]:
        """Return the runs of this sweep that MLflow has already, by their key."""
        found: dict[str, _Mirrored] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], f"tags.`{_SWEEP_TAG}` = '{self._sweep.id}'", max_results=1000, page_token=token
            )
            for run in page:
                step = int(run.data.metrics.get("step", 0))
                found[run.data.tags[_KEY_TAG]] = _Mirrored(
                    run.info.run_id,
                    step,
                    run.info.status,
                    has_params=bool(run.data.params),
                    sent={tag: run.data.tags[tag] for tag in _FILE_TAGS if tag in run.data.tags},
                )
            token = page.token
            if not token:
                return found

    def _create(self, key: str, name: str, tags: dict[str, str]) -> _Mirrored:
        from mlflow.entities import Dataset, DatasetInput

        always = {_SWEEP_TAG: self._sweep.id, _KEY_TAG: key, "tuner.sweep": self._sweep.name}
        commit = self._provenance["git_commit"]
        if commit:
            always["mlflow.source.git.commit"] = commit
        run = self._client.create_run(self._experiment_id, run_name=name, tags={**always, **tags})
        data = self._provenance["dataset"]
        entity = Dataset(name=data["name"], digest=data["sha256"][:36], source_type="local", source=data["name"])
        self._client.log_inputs(run.info.run_id, [DatasetInput(dataset=entity, tags=[])])
        mirrored = self._mirrored[key] = _Mirrored(run.info.run_id, 0, "RUNNING", has_params=False)
        return mirrored

    def write(self, record: Record) -> None:
        """Send what MLflow does not have yet of a run."""
        run = record.run
        mirrored = self._mirrored.get(run.key)
        if mirrored is None:
            tags = {_PARENT_TAG: self._parent.run_id, "tuner.kind": run.kind, "trainable": run.settings["trainable"]}
            mirrored = self._create(run.key, run.key, {**tags, "label": run.label})
        status = _STATUS[record.state]
        has_ended = status != mirrored.status
        params = {} if mirrored.has_params else _parameters(run.settings)
        self._send(mirrored, record, params, _ending(record) if has_ended else {})
        mirrored.has_params = True
        if has_ended:
            self._client.set_terminated(mirrored.run_id, status)
            mirrored.status = status
        for tier, tag in _VERDICT_TAGS.items():
            verdict = read_verdict(run.folder, tier)
            if verdict is not None:
                tags = _masking(f"{tag}.masking", verdict["metrics"])
                self._send_file(mirrored, run.folder / VERDICTS[tier], tag, verdict, verdict["metrics"], tags)

    def _send_file(
        self,
        mirrored: _Mirrored,
        path: Path,
        tag: str,
        content: dict[str, Any],
        numbers: dict[str, float],
        tags: dict[str, str],
    ) -> None:
        """Send a file of findings, its numbers as ``<last word of the tag>.*``, unless MLflow has that content."""
        from mlflow.entities import Metric, RunTag

        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        if mirrored.sent.get(tag) == digest:
            return
        now, name = int(time.time() * 1000), tag.removeprefix("tuner.")
        metrics = [Metric(f"{name}.{number}", value, now, 0) for number, value in numbers.items()]
        self._client.log_artifact(mirrored.run_id, str(path))
        labels = [RunTag(label, value) for label, value in {**tags, tag: digest}.items()]
        self._client.log_batch(mirrored.run_id, metrics, tags=labels)
        mirrored.sent[tag] = digest

    def _send(self, mirrored: _Mirrored, record: Record, params: dict[str, str], tags: dict[str, str]) -> None:
        """Send the rows of metrics that are new, parameters and tags, in as few requests as they fit."""
        from mlflow.entities import Metric, Param, RunTag

        rows = [row for row in read_metrics(record.run.folder) if row["step"] > mirrored.last_step]
        metrics = [
            Metric(name, value, int(row["time"] * 1000), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name != "time"
        ]
        parameters = [Param(name, value) for name, value in params.items()]
        labels = [RunTag(name, value) for name, value in tags.items()]
        while metrics or parameters or labels:
            room = _METRICS_PER_BATCH - min(len(parameters), _PARAMS_PER_BATCH) - len(labels)
            self._client.log_batch(mirrored.run_id, metrics[:room], parameters[:_PARAMS_PER_BATCH], labels)
            metrics, parameters, labels = metrics[room:], parameters[_PARAMS_PER_BATCH:], []
        if rows:
            mirrored.last_step = int(rows[-1]["step"])

    def finish(self, completed: bool, winner: Record | None, pictures: Mapping[str, Sequence[Path]]) -> None:
        """End the sweep's own run: say which trial is best; add pictures to the runs whose keys they have."""
        if winner is not None:
            self._client.set_tag(self._parent.run_id, "tuner.best", winner.run.key)
            self._client.set_tag(self._parent.run_id, "tuner.best_value", f"{winner.value:.4f}")
        found = read_confirmed(self._sweep)
        if found is not None:
            tags = {"tuner.confirmed": found["winner"] or "none"}
            self._send_file(
                self._parent, self._sweep.folder / CONFIRMED, _CONFIRM_TAG, found, main_numbers(found), tags
            )
        for key, files in pictures.items():
            for picture in files:
                self._client.log_artifact(self._mirrored[key].run_id, str(picture))
        self._client.set_terminated(self._parent.run_id, "FINISHED" if completed else "KILLED")


def _parameters(settings: dict[str, Any]) -> dict[str, str]:
    return {name: value[:_PARAM_LENGTH] for name, value in flatten(settings).items()}


def _ending(record: Record) -> dict[str, str]:
    """Return the tags that say how a run has ended."""
    tags: dict[str, str] = {"tuner.state": record.state}
    if record.reason:
        tags["tuner.reason"] = record.reason[-5000:]
    if not record.feasible:
        tags["tuner.feasible"] = "false"
    return tags | _masking("tuner.masking", record.metrics)


def _masking(tag: str, metrics: dict[str, float]) -> dict[str, str]:
    """Return tags that say of every gradient-masking check, and of all together, whether they pass."""
    if MASKING_FAILURES not in metrics:
        return {}
    checks = {f"{tag}.{name}": passes for name, passes in masking_checks(metrics).items()}
    outcomes = {tag: metrics[MASKING_FAILURES] == 0, **checks}
    return {name: "pass" if passes else "fail" for name, passes in outcomes.items()}


class Mirror:
    """Feeds a writer from a thread: the driver only says which runs have changed."""

    def __init__(self, connect: Callable[[], MlflowWriter], warn: Callable[[str], None]) -> None:
        self._connect = connect
        self._warn = warn
        self._warned = False
        self._writer: MlflowWriter | None = None
        self._changed: dict[str, Record] = {}
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def changed(self, record: Record) -> None:
        """Note that a run has changed; only its newest state will be sent."""
        with self._wake:
            self._changed[record.run.key] = record
            self._wake.notify()

    def close(
        self, timeout_s: float, *, completed: bool, winner: Record | None, pictures: Mapping[str, Sequence[Path]]
    ) -> bool:
        """Send the rest and end the sweep's run; return False if MLflow was not brought up to date in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive() or self._writer is None or self._changed:
            return False
        try:
            self._writer.finish(completed, winner, pictures)
        except Exception as error:
            self._trouble(error)
            return False
        return True

    def _work(self) -> None:
        wait_s = _RETRY_S[0]
        last_chance_taken = False
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._changed or self._closing)
                # Several changes of a run are one write: of short runs, MLflow often sees beginning and end together.
                self._wake.wait_for(lambda: self._closing, timeout=_GATHER_S)
                if not self._changed and self._writer is not None:
                    return
                batch, self._changed = self._changed, {}
            try:
                self._writer = self._writer or self._connect()
                for key in list(batch):
                    self._writer.write(batch[key])
                    del batch[key]
                wait_s = _RETRY_S[0]
            except Exception as error:
                self._trouble(error)
                with self._wake:
                    self._changed = {**batch, **self._changed}
                    if self._closing and last_chance_taken:
                        return
                    last_chance_taken = self._closing
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_S[1])

    def _trouble(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"MLflow cannot be written, the sweep goes on without it: {str(error).splitlines()[0]}")


def _connect(home: Path) -> MlflowClient:
    """Return a client that gives up soon; the schema of a new database is made by one process alone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports warn about its own dependencies
        from mlflow.tracking import MlflowClient
    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with FileLock(home / ".mlflow.lock"):
        client = MlflowClient(tracking_uri(home))
        client.search_experiments(max_results=1)
    return client


def _experiment(client: MlflowClient, home: Path) -> str:
    uri = tracking_uri(home)
    artifacts = str(home / "mlflow-artifacts") if uri.startswith("sqlite:") else None
    with FileLock(home / ".mlflow.lock"):
        there = client.get_experiment_by_name(EXPERIMENT)
        if there is not None:
            return str(there.experiment_id)
        # Without the kind the UI would take the experiment for one of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=tags))
