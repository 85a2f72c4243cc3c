"""The undocumented names of MLflow's that are used: all of them, and in no other module.

MLflow serves its pages with the command ``mlflow server`` alone, which opens its port itself and is given everything in
its command line and its environment. `web_application` returns what that command serves, so that this process can check
who asks, on a socket that it has opened. MLflow has no way to change where the files of an experiment are.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from fastapi import FastAPI
    from mlflow.entities import Metric, Run

_LOCKED_S = 60
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def web_application(uri: str, uploads: Path) -> FastAPI:
    """Return MLflow's pages and API, which read files of artifacts only inside the folders of artifacts.

    It changes environment variables of this process, and which repositories of artifacts MLflow uses in it.

    Args:
        uri: of the database.
        uploads: where files are kept that come by HTTP, of experiments that were created by HTTP.
    """
    import uvicorn  # noqa: F401  (where this is imported, MLflow takes the process for a server and checks host names)
    from mlflow import environment_variables as variables
    from mlflow.server import constants
    from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
    from mlflow.utils.server_cli_utils import resolve_default_artifact_root

    root = resolve_default_artifact_root(True, "", uri)
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: uri,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: uploads.as_uri(),
        variables._MLFLOW_SGI_NAME.name: "uvicorn",
        variables._MLFLOW_SERVER_BOOT_ID.name: uuid.uuid4().hex,  # where this is set, no code of scorers is run
        variables._MLFLOW_IN_JOB_EXECUTOR.name: "false",  # the same
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    from mlflow.server import fastapi_app, handlers

    from tuner.tracking.confined_artifacts import ConfinedArtifacts

    repositories = cast(dict[str, type], get_registered_artifact_repositories())
    repositories |= {"": ConfinedArtifacts, "file": ConfinedArtifacts}
    handlers.initialize_backend_stores(uri, uri, root)
    application: FastAPI = fastapi_app.create_fastapi_app()
    return application


def latest_metrics(run: Run) -> list[Metric]:
    """Return the last point of every metric of a run; MLflow's public names are of the values alone."""
    points: list[Metric] = run.data._metric_objs
    return points


def move_artifacts(database: Path, before: str, now: str) -> None:
    """Change where the files of experiments, runs and models are, in MLflow's SQLite database; no file is moved.

    Args:
        database: the file.
        before: path or URI of the folder, as the database has it.
        now: URI of the folder.
    """
    with contextlib.closing(sqlite3.connect(database, timeout=_LOCKED_S)) as connection, connection:
        for table, column in _COLUMNS:
            connection.execute(
                f"UPDATE {table} SET {column} = :now || substr({column}, length(:before) + 1)"  # noqa: S608
                f" WHERE {column} = :before OR substr({column}, 1, length(:before) + 1) = :before || '/'",
                {"before": before, "now": now},
            )
