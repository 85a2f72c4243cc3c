"""What must hold of a sweep after whatever has happened to it, over ledger, checkpoints and MLflow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.evaluation.metrics import mlflow_names
from trainables.storage import checkpoint
from tuner.sweep.confirmation import read_confirmation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, read_metrics
from tuner.tracking.confirmed import CONFIGURATION
from tuner.tracking.registry.champion import ALIAS
from tuner.tracking.registry.logged_model import DIGEST_TAG
from tuner.tracking.server import EXPERIMENT, PARENT_TAG, RUN_TAG, SWEEP_TAG

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Rows = dict[str, list[dict[str, float]]]


def rows_of(records: list[Record]) -> Rows:
    """Return the rows that have been reported, by run."""
    return {record.run.key: read_metrics(record.run) for record in records}


def trained(folder: Path) -> list[int]:
    """Return the numbers of the reports that a run was trained for, repetitions included."""
    path = folder / "trained"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def repeated(records: list[Record]) -> int:
    """Return for how many reports the training was begun again."""
    return sum(len(steps) - len(set(steps)) for steps in (trained(record.run.folder) for record in records))


def check_nothing_lost(before: Rows, ended: dict[str, str], records: list[Record]) -> None:
    """Compare with what was reported, and which runs had ended, at an earlier time."""
    now = rows_of(records)
    for key, rows in before.items():
        assert now[key][: len(rows)] == rows, f"{key}: rows that were reported are gone or were written again"
    states = {record.run.key: record.state for record in records}
    assert {key: states[key] for key in ended} == ended


def check_end(sweep: SweepFolder, uri: str) -> None:
    """Check a sweep that says it is complete: every run once, with all its reports, here and in MLflow."""
    records = read_records(sweep)
    kinds = Counter(record.run.kind for record in records)
    assert kinds == {"trial": sweep.num_trials, "baseline": len(sweep.space.baselines)}
    assert {record.state for record in records} <= {"complete", "pruned"}
    for record in records:
        steps = [row["step"] for row in read_metrics(record.run)]
        assert steps == list(range(1, len(steps) + 1)), record.run.key
        assert record.metrics["compute"] >= sweep.space.budget.compute or record.state == "pruned"
        newest = checkpoint.load_newest(record.run.folder / "checkpoint")
        assert newest is not None
        assert newest["metrics"]["step"] >= steps[-1]
    _check_mlflow(sweep, [*records, *read_records(sweep, ("confirm",))], uri)


def _check_mlflow(sweep: SweepFolder, records: list[Record], uri: str) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{sweep.id}'", max_results=5000)
    confirmation = read_confirmation(sweep)
    confirmed = [f"{CONFIGURATION}-{one.name}" for one in confirmation.configurations] if confirmation else []
    there = Counter(run.data.tags[RUN_TAG] for run in runs)
    assert there == Counter(["sweep", *confirmed, *(record.run.key for record in records)]), there
    by_key = {run.data.tags[RUN_TAG]: run for run in runs}
    assert {run.info.status for run in runs} == {"FINISHED"}
    parent = by_key.pop("sweep").info.run_id
    assert {run.data.tags[PARENT_TAG] for run in by_key.values()} == {parent}
    for record in records:
        run = by_key[record.run.key]
        assert run.data.tags["tuner.state"] == record.outcome, record.run.key
        rows = read_metrics(record.run)
        for name, in_mlflow in mlflow_names(["robust", "watch/robust", "compute", "evaluation_s"]).items():
            points = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, in_mlflow)]
            reported = [(row["step"], row[name]) for row in rows if name in row]
            assert sorted(points) == reported, f"{record.run.key}: {name}"
    _check_champions(sweep, client)


def _check_champions(sweep: SweepFolder, client: MlflowClient) -> None:
    """Check the sweep's registered model: it is there once, and each run that was ever the best is one version."""
    models = client.search_registered_models(f"tags.`{SWEEP_TAG}` = '{sweep.id}'")
    assert len(models) == 1, models
    versions = client.search_model_versions(f"name = '{models[0].name}'")
    champions = [(version.tags[RUN_TAG], version.tags[DIGEST_TAG]) for version in versions]
    assert len(champions) == len(set(champions)), champions
    assert models[0].aliases[ALIAS] in {version.version for version in versions}
