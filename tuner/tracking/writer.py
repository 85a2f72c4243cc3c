"""Writes a sweep to MLflow: compares what MLflow has of it with what the sweep's folder has, and sends the rest.

The folder is what counts. MLflow may be out of reach for an hour, be connected late, or be written twice: nothing is
lost, and nothing is there twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from trainables.evaluation.checks import MASKING_FAILURES, from_metrics
from trainables.evaluation.metrics import TIME, metric_named, mlflow_names
from tuner.results.confirmation import is_confirmed
from tuner.sweep.confirmation import FILE as CONFIRMED
from tuner.sweep.confirmation import read_confirmation
from tuner.sweep.evaluations import EVALUATION_FILES, read_evaluation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import (
    SWEEP,
    Record,
    Tier,
    flatten,
    read_metrics,
)
from tuner.sweep.snapshot import Rows, Snapshot
from tuner.tracking.artifacts import is_there, send_file
from tuner.tracking.confirmed import write_configurations
from tuner.tracking.mlflow_internals import PARAM_LENGTH, PARAMS_PER_BATCH
from tuner.tracking.presentation import num_ended, run_name, sweep_metrics, sweep_note, sweep_parameters
from tuner.tracking.server import PARENT_TAG, RUN_TAG, SWEEP_TAG, connect, experiment
from tuner.tracking.views import all_sweeps_view, configurations_view, page_of, sweep_view, write_view

_METRICS_PER_BATCH = 1000
_ENDINGS = {"completed": "FINISHED", "failed": "FAILED"}  # of a sweep; any other is KILLED
_STATUS = {"running": "RUNNING", "complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}
_NAME_TAG, _STATE_TAG, _NOTE_TAG, _OUR_NOTE_TAG = "tuner.sweep", "tuner.state", "mlflow.note.content", "tuner.note"
_SETTINGS_TAG = "tuner.settings"
_CONFIRM_TAG, _FRONT_TAG = "tuner.confirm", "tuner.front"
_EVALUATION_TAGS: dict[Tier, str] = {"rank": "tuner.test", "final": "tuner.final"}
_NAMES = "2"
"""Version of the names of metrics: what was sent with earlier names is sent once more."""
_FILE_TAGS = (*_EVALUATION_TAGS.values(), _CONFIRM_TAG)


@dataclass
class _Mirrored:
    """What MLflow has of a run."""

    run_id: str
    last_step: int
    status: str
    has_params: bool
    has_data: bool
    artifact_uri: str
    started_ms: int = 0
    ended_ms: int = 0
    parent: str | None = None
    settings: str | None = None  # their digest; unknown of runs that earlier releases wrote
    name: str = ""
    sweep: str | None = None  # name of the sweep
    state: str | None = None  # see `_ending`
    sent: dict[str, str] = field(default_factory=dict)  # digests of files, by their tags


class MlflowWriter:
    """Writes one sweep to MLflow: a parent run for the sweep, and a nested run for each of its runs.

    Making a writer connects to MLflow, creates the parent run if it is missing, and finds what was written before.
    Every method raises whatever MLflow raises.

    Args:
        sweep: the sweep; its folder lies in the home that `server.tracking_uri` is about.
    """

    def __init__(self, sweep: SweepFolder) -> None:
        self._sweep = sweep
        self._provenance = sweep.read_provenance()
        self._client = connect(sweep.folder.parent)
        self._experiment_id = experiment(self._client, sweep.folder.parent)
        self._mirrored = self._find()
        created_ms = int(1000 * datetime.fromisoformat(sweep.created).timestamp())
        versions = {f"version.{package}": version for package, version in self._provenance["versions"].items()}
        tags = {"tuner.kind": "sweep", _NOTE_TAG: sweep.space.description[:5000], **versions}
        self._parent = self._mirrored.get(SWEEP) or self._create(SWEEP, sweep.name, tags, created_ms)
        # The sweep's own run ends with the last report, however much later it is brought to MLflow.
        self._ended_ms = max(created_ms, self._parent.ended_ms)
        self._log_data(self._parent)
        self._has_views = False

    @property
    def sweep_name(self) -> str:
        """Name of the sweep."""
        return self._sweep.name

    def _find(self) -> dict[str, _Mirrored]:
        """Return the runs of this sweep that MLflow has already, by their key.

        A request that got no answer may have created a run all the same: of several runs with one key the one with the
        most reports is kept, and the others are deleted.
        """
        by_key: dict[str, _Mirrored] = {}
        for key, mirrored in self._search():
            existing = by_key.setdefault(key, mirrored)
            if existing is not mirrored:
                pair = sorted((existing, mirrored), key=lambda run: (run.last_step, run.has_params, run.started_ms))
                self._client.delete_run(pair[0].run_id)
                by_key[key] = pair[1]
        return by_key

    def _search(self) -> Iterator[tuple[str, _Mirrored]]:
        step, token = metric_named("step").mlflow_name, None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], f"tags.`{SWEEP_TAG}` = '{self._sweep.id}'", max_results=1000, page_token=token
            )
            for run in page:
                yield (
                    run.data.tags[RUN_TAG],
                    _Mirrored(
                        run.info.run_id,
                        int(run.data.metrics.get(step, 0)),
                        run.info.status,
                        has_params=bool(run.data.params),
                        has_data=bool(run.inputs and run.inputs.dataset_inputs),
                        artifact_uri=run.info.artifact_uri,
                        sent={tag: run.data.tags[tag] for tag in _FILE_TAGS if tag in run.data.tags},
                        started_ms=run.info.start_time,
                        ended_ms=run.info.end_time or 0,
                        parent=run.data.tags.get(PARENT_TAG),
                        settings=run.data.tags.get(_SETTINGS_TAG),
                        name=run.info.run_name,
                        sweep=run.data.tags.get(_NAME_TAG),
                        state=run.data.tags.get(_STATE_TAG),
                    ),
                )
            token = page.token
            if not token:
                return

    def _create(self, key: str, name: str, tags: dict[str, str], started_ms: int | None = None) -> _Mirrored:
        always = {SWEEP_TAG: self._sweep.id, RUN_TAG: key, _NAME_TAG: self._sweep.name}
        commit = self._provenance["git_commit"]
        if commit:
            always["mlflow.source.git.commit"] = commit
        run = self._client.create_run(self._experiment_id, started_ms, {**always, **tags}, name)
        mirrored = self._mirrored[key] = _Mirrored(
            run.info.run_id,
            0,
            "RUNNING",
            has_params=False,
            has_data=False,
            artifact_uri=run.info.artifact_uri,
            parent=tags.get(PARENT_TAG),
            settings=tags.get(_SETTINGS_TAG),
            name=name,
            sweep=self._sweep.name,
        )
        return mirrored

    def _log_data(self, mirrored: _Mirrored) -> None:
        from mlflow.entities import Dataset, DatasetInput

        if mirrored.has_data:
            return
        data = self._provenance["dataset"]
        entity = Dataset(name=data["name"], digest=data["sha256"][:36], source_type="local", source=data["name"])
        self._client.log_inputs(mirrored.run_id, [DatasetInput(dataset=entity, tags=[])])
        mirrored.has_data = True

    def begin(self) -> None:
        """Mark the sweep's own run as running, whatever its status was."""
        if self._parent.status != "RUNNING":
            self._client.update_run(self._parent.run_id, "RUNNING")
            self._parent.status = "RUNNING"

    def write(self, record: Record, rows: Rows | None = None) -> None:
        """Send what MLflow does not have yet of a run: parameters, reports, its end, evaluations.

        Args:
            record: of the run.
            rows: the metrics of its reports; by default they are read from its folder.
        """
        run = record.run
        mirrored = self._mirrored.get(run.key)
        rows = read_metrics(run) if rows is None else rows
        self._ended_ms = max(self._ended_ms, _ended_ms(rows) or 0)
        if mirrored is not None and mirrored.settings not in (None, run.identity.settings):
            self._set_aside(run.key, mirrored)
            mirrored = None
        if mirrored is None:
            tags = {PARENT_TAG: self._parent.run_id, "tuner.kind": run.kind, "trainable": run.settings["trainable"]}
            tags[_SETTINGS_TAG] = run.identity.settings
            name = run_name(self._sweep.space, run)
            mirrored = self._create(run.key, name, {**tags, "label": run.label}, _started_ms(rows))
        elif mirrored.parent != self._parent.run_id:
            self._client.set_tag(mirrored.run_id, PARENT_TAG, self._parent.run_id)
            mirrored.parent = self._parent.run_id
        self._log_data(mirrored)
        status = _STATUS[record.state]
        has_ended = status != mirrored.status
        params = {} if mirrored.has_params else _parameters(run.settings)
        new = [row for row in rows if row["step"] > mirrored.last_step]
        self._send(mirrored, new, params, self._new_tags(mirrored, record, has_ended=has_ended))
        mirrored.has_params, mirrored.sweep, mirrored.state = True, self._sweep.name, record.outcome
        if mirrored.name == run.key:  # as releases until 0.1.0 called it; another name is a person's
            mirrored.name = run_name(self._sweep.space, run)
            self._client.update_run(mirrored.run_id, name=mirrored.name)
        if has_ended:
            self._client.set_terminated(mirrored.run_id, status, _ended_ms(rows))
            mirrored.status = status
        for tier, tag in _EVALUATION_TAGS.items():
            results = read_evaluation(run, tier)
            if results is not None:
                tags = _masking(f"{tag}.masking", results.metrics)
                self._send_file(mirrored, run.folder / EVALUATION_FILES[tier], tag, results.metrics, tags)

    def _new_tags(self, mirrored: _Mirrored, record: Record, *, has_ended: bool) -> dict[str, str]:
        """Return the tags of a run that MLflow does not have yet."""
        tags = {} if mirrored.sweep == self._sweep.name else {_NAME_TAG: self._sweep.name}
        return {**tags, **_ending(record)} if has_ended or mirrored.state != record.outcome else tags

    def _set_aside(self, key: str, mirrored: _Mirrored) -> None:
        """Take its key from a run whose settings are others than those of the run that has the key now."""
        self._client.set_tag(mirrored.run_id, RUN_TAG, f"{key}.aside-{mirrored.run_id[:8]}")
        if mirrored.status == "RUNNING":
            self._client.set_terminated(mirrored.run_id, "KILLED")
        del self._mirrored[key]

    def _send_file(
        self,
        mirrored: _Mirrored,
        path: Path,
        tag: str,
        numbers: dict[str, float],
        tags: dict[str, str],
    ) -> None:
        """Send a JSON file, and numbers as metrics ``<last word of the tag>/*``, unless MLflow has that content."""
        from mlflow.entities import Metric, RunTag

        digest = _digest(_NAMES + json.dumps(json.loads(path.read_bytes())))
        if mirrored.sent.get(tag) == digest and is_there(mirrored.artifact_uri, path.name):
            return
        now, name = int(time.time() * 1000), tag.removeprefix("tuner.")
        metrics = [Metric(f"{name}/{number}", value, now, 0) for number, value in numbers.items()]
        send_file(self._client.tracking_uri, mirrored.artifact_uri, path)
        labels = [RunTag(label, value) for label, value in {**tags, tag: digest}.items()]
        self._client.log_batch(mirrored.run_id, metrics, tags=labels)
        mirrored.sent[tag] = digest

    def _send(self, mirrored: _Mirrored, rows: Rows, params: dict[str, str], tags: dict[str, str]) -> None:
        """Send rows of metrics, parameters and tags, in as few requests as they fit.

        A row is never cut in two: what a request that failed has left is told by the last step that is there.
        """
        from mlflow.entities import Metric, Param, RunTag

        parameters = [Param(name, value) for name, value in params.items()]
        labels = [RunTag(name, value) for name, value in tags.items()]
        unsent = list(rows)
        names = mlflow_names({name for row in rows for name in row})
        while unsent or parameters or labels:
            room = _METRICS_PER_BATCH - min(len(parameters), PARAMS_PER_BATCH) - len(labels)
            metrics: list[Metric] = []
            while unsent and len(metrics) + len(unsent[0]) <= room:
                row = unsent.pop(0)
                at = int(row[TIME] * 1000), int(row["step"])
                metrics += [Metric(names[name], value, *at) for name, value in row.items() if name != TIME]
                mirrored.last_step = at[1]
            self._client.log_batch(mirrored.run_id, metrics, parameters[:PARAMS_PER_BATCH], labels)
            parameters, labels = parameters[PARAMS_PER_BATCH:], []

    def present(self, snapshot: Snapshot) -> None:
        """Bring up to date what the sweep amounts to: its table, and the note, parameters and metrics of its own run.

        A note that a person has written is kept.

        Args:
            snapshot: of the sweep.
        """
        from mlflow.entities import Metric, Param, RunTag

        views = [sweep_view(self._sweep), configurations_view(self._sweep)]
        if not self._has_views:
            for each in (views[0], all_sweeps_view()):
                write_view(self._client, self._experiment_id, each)
            self._has_views = True
        if snapshot.confirmation is not None:
            write_view(self._client, self._experiment_id, views[1])
        existing = self._client.get_run(self._parent.run_id).data
        now, metrics = int(time.time() * 1000), sweep_metrics(snapshot)
        step = max(num_ended(metrics), num_ended(existing.metrics))
        changed = [
            Metric(name, value, now, step) for name, value in metrics.items() if existing.metrics.get(name) != value
        ]
        parameters = sweep_parameters(self._sweep).items()
        missing = [Param(name, value) for name, value in parameters if name not in existing.params]
        tags = self._note(existing.tags, sweep_note(snapshot, *(page_of(self._experiment_id, view) for view in views)))
        tags[_NAME_TAG] = self._sweep.name
        labels = [RunTag(name, value) for name, value in tags.items() if existing.tags.get(name) != value]
        if changed or missing or labels:
            self._client.log_batch(self._parent.run_id, changed, missing, labels)

    def _note(self, existing: Mapping[str, str], note: str) -> dict[str, str]:
        """Return the tags of a new note, with what tells it from a person's; none if the existing one is a person's."""
        before = existing.get(_NOTE_TAG, "")
        if before not in ("", self._sweep.space.description[:5000]) and existing.get(_OUR_NOTE_TAG) != _digest(before):
            return {}
        return {_NOTE_TAG: note, _OUR_NOTE_TAG: _digest(note)}

    def finish(self, state: str, winners: Sequence[Record], pictures: Mapping[str, Sequence[Path]]) -> None:
        """Set the status of the sweep's own run, and attach what belongs to the whole sweep.

        Args:
            state: of the sweep, see `tuner.sweep.state`.
            winners: the best trial, or with several objectives the front, best first.
            pictures: image files by the key of the run that they show, all of them written before.
        """
        if winners:
            self._client.set_tag(self._parent.run_id, "tuner.best", winners[0].run.key)
            self._client.set_tag(self._parent.run_id, "tuner.best_value", f"{winners[0].value:.4f}")
        if len(self._sweep.space.objectives) > 1:
            self._tag_front([winner.run.key for winner in winners])
        confirmation = read_confirmation(self._sweep)
        if confirmation is not None:
            winner = confirmation.winner if is_confirmed(confirmation) else None
            tags = {"tuner.confirmed": winner or "none"}
            numbers = confirmation.main_numbers()
            self._send_file(self._parent, self._sweep.folder / CONFIRMED, _CONFIRM_TAG, numbers, tags)
            write_configurations(self._client, self._experiment_id, self._parent.run_id, confirmation)
        for key, files in pictures.items():
            for picture in files:
                send_file(self._client.tracking_uri, self._mirrored[key].artifact_uri, picture)
        status = _ENDINGS.get(state, "KILLED")
        self._client.set_terminated(self._parent.run_id, status, self._ended_ms)
        self._parent.status = status

    def _tag_front(self, keys: Sequence[str]) -> None:
        """Tag the runs on the front, and take the tag from those that were on it."""
        before = self._client.get_run(self._parent.run_id).data.tags.get(_FRONT_TAG, "").split()
        for key in {*before, *keys}:
            self._client.set_tag(self._mirrored[key].run_id, _FRONT_TAG, str(key in keys).lower())
        self._client.set_tag(self._parent.run_id, _FRONT_TAG, " ".join(keys))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _started_ms(rows: Rows) -> int | None:
    """Return when a run began, as its first row has it; None if there is none."""
    if not rows:
        return None
    first = rows[0]
    return int(1000 * (first[TIME] - first.get("train_s", 0.0) - first.get("evaluation_s", 0.0)))


def _ended_ms(rows: Rows) -> int | None:
    """Return when a run gave its last report; the clock may have been set back since the first."""
    return int(1000 * max(row[TIME] for row in rows)) if rows else None


def _parameters(settings: dict[str, Any]) -> dict[str, str]:
    return {name: value[:PARAM_LENGTH] for name, value in flatten(settings).items()}


def _ending(record: Record) -> dict[str, str]:
    """Return the tags that say how a run has ended, or that it has not."""
    tags: dict[str, str] = {_STATE_TAG: record.outcome}
    if record.reason:
        tags["tuner.reason"] = record.reason[-5000:]
    if not record.feasible:
        tags["tuner.feasible"] = "false"
    return tags | _masking("tuner.masking", record.metrics)


def _masking(tag: str, metrics: dict[str, float]) -> dict[str, str]:
    """Return tags that say of every gradient-masking check, and of all together, whether they pass."""
    if MASKING_FAILURES not in metrics:
        return {}
    checks = {f"{tag}.{name}": passes for name, passes in from_metrics(metrics).items()}
    outcomes = {tag: metrics[MASKING_FAILURES] == 0, **checks}
    return {name: "pass" if passes else "fail" for name, passes in outcomes.items()}
