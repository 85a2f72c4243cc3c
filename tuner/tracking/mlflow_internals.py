"""The undocumented names of MLflow's that are used: all of them, and in no other module.

MLflow serves its pages with the command ``mlflow server`` alone, which opens its port itself and is given everything in
its command line and its environment. `web_application` returns what that command serves, so that this process can check
who asks, on a socket that it has opened. MLflow has no way to change where the files of an experiment are.

A view of the table of runs is kept as its pages keep the views that people share: as a tag of the experiment, which the
link of the view names.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

if TYPE_CHECKING:
    from fastapi import FastAPI
    from mlflow.entities import Metric, Run

_LOCKED_S = 60
RUN_NAME, CREATED, DURATION = "attributes.`Run Name`", "runDateAndNestInfo", "duration"
"""Columns of the table of runs that are always there."""
PARAM_LENGTH, PARAMS_PER_BATCH = 6000, 100
"""The longest value of a parameter, and how many of them one request takes."""

MAX_VIEW_LENGTH = 5000  # of a tag of an experiment
_VIEW = "mlflow.sharedViewState."
NARROW_STYLE = b"<style>@media (max-width: 640px) { aside { display: none !important } }</style>"
"""Hides the menu, which leaves half of a telephone's screen to the table."""
_START = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>MLflow</title><p><a href="{page}">The table of runs</a></p>
<script>
try {{
  localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"')
  localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true")
}} catch {{}}
location.replace("{page}")
</script></html>
"""
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


def view_tag(key: str) -> str:
    """Return the name of the experiment's tag that holds the view with that key."""
    return _VIEW + key


def encode_view(filter_by: str, order_by: str, ascending: bool, widths: Mapping[str, int]) -> str:
    """Return a view of the table of runs as the value of its tag.

    Args:
        filter_by: which runs it shows, as in MLflow's search box.
        order_by: the column that it is sorted by.
        ascending: the direction.
        widths: its columns from left to right, each with its width in pixels.
    """
    state = {
        "searchFilter": filter_by,
        "orderByKey": order_by,
        "orderByAsc": ascending,
        "selectedColumns": [column for column in widths if column not in (RUN_NAME, CREATED, DURATION)],
        "columnOrder": list(widths),
        "columnWidths": dict(widths),
    }
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()


def view_page(experiment_id: str, key: str) -> str:
    """Return the link of a view, from the root of MLflow's pages on; it opens them in the mode of model training.

    Args:
        experiment_id: of the experiment that has the view.
        key: of the view; empty for the table as MLflow shows it.
    """
    query = {"workflowType": "machine_learning", **({"viewStateShareKey": key} if key else {})}
    return f"/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def start_page(page: str) -> str:
    """Return HTML that leads to one of MLflow's pages, without the chat that covers a third of the first one.

    Args:
        page: see `view_page`.
    """
    return _START.format(page=page)


def count_runs_and_files(database: Path, tag: str, value: str) -> tuple[int, int]:
    """Return how many runs with a tag a SQLite database of MLflow has that are not deleted, and their files nearby.

    Raises:
        OSError: the database cannot be read.
    """
    query = (
        "SELECT runs.artifact_uri FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid "
        "WHERE tags.key = ? AND tags.value = ? AND runs.lifecycle_stage = 'active'"
    )
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            places = [str(place) for (place,) in connection.execute(query, (tag, value))]
    except sqlite3.Error as error:
        raise OSError(f"{database} cannot be read: {error}") from error
    folders = [Path(place.removeprefix("file://")) for place in places]
    return len(places), sum(path.is_file() for folder in folders if folder.is_dir() for path in folder.rglob("*"))
