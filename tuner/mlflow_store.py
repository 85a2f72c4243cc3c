"""The MLflow that sweeps are shown in: which one it is, a client that gives up soon, and their experiment."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "adversarial-tuner"


def tracking_uri(home: Path) -> str:
    """Return ``MLFLOW_TRACKING_URI``, or else a database in the sweeps' home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def connect(home: Path) -> MlflowClient:
    """Return a client that gives up soon; the schema of a new database is made by one process alone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports warn about its own dependencies
        from mlflow.tracking import MlflowClient
    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised, too
    with FileLock(home / ".mlflow.lock"):
        client = MlflowClient(tracking_uri(home))
        client.search_experiments(max_results=1)
    return client


def experiment(client: MlflowClient, home: Path) -> str:
    """Return the id of the experiment that all sweeps are in, made if it is not there."""
    uri = tracking_uri(home)
    artifacts = str(home / "mlflow-artifacts") if uri.startswith("sqlite:") else None
    with FileLock(home / ".mlflow.lock"):
        there = client.get_experiment_by_name(EXPERIMENT)
        if there is not None:
            return str(there.experiment_id)
        # Without the kind the UI would take the experiment for one of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=tags))
