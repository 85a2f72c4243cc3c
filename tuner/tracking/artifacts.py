"""Where MLflow keeps files ("artifacts"): beside its database, also after both were moved or copied to another place.

MLflow writes the absolute path of that folder into its database, with each experiment and each run.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from tuner.tracking.mlflow_internals import move_artifacts

_FOLDER = "mlflow-artifacts"
_LOCKED_S = 60


def database_file(uri: str) -> Path | None:
    """Return the file of the SQLite database that a tracking URI names; None for a server or another database."""
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy.engine import make_url

    return Path(make_url(uri).database or "").absolute()


def check_database(uri: str) -> None:
    """Open the SQLite database of a tracking URI, if it names one: MLflow would try again for hours.

    Raises:
        sqlite3.Error: it cannot be opened.
        OSError: its folder cannot be made.
    """
    database = database_file(uri)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(database, timeout=_LOCKED_S)) as connection:
            connection.execute("PRAGMA schema_version")


def absolute(uri: str) -> str:
    """Return a tracking URI that means the same in another working directory."""
    database = database_file(uri)
    return uri if database is None else with_database(uri, database)


def with_database(uri: str, database: Path) -> str:
    """Return a tracking URI of another SQLite database."""
    from sqlalchemy.engine import make_url

    return make_url(uri).set(database=str(database)).render_as_string(hide_password=False)


def new_location(uri: str) -> str | None:
    """Return the URI of the folder for artifacts of a new experiment; None where a server decides that."""
    database = database_file(uri)
    return None if database is None else (database.parent / _FOLDER).as_uri()


def follow(uri: str, home: Path, recorded: str) -> None:
    """Correct the place of artifacts in MLflow's database if the folder with the database was moved or copied.

    Args:
        uri: of MLflow.
        home: of the sweeps.
        recorded: the place of the sweeps' artifacts that the database has.
    """
    database = database_file(uri)
    before = _local_folder(recorded)
    if database is None or before is None:
        return
    folder = _folder_now(database, home, before)
    if folder != before and not (folder.is_dir() and before.is_dir() and folder.samefile(before)):
        move_artifacts(database, recorded, folder.as_uri())


def _folder_now(database: Path, home: Path, before: Path) -> Path:
    """Return where the artifacts are; releases until 0.1.0 kept those of a database elsewhere in the sweeps' home."""
    beside, in_home = database.parent / _FOLDER, home / _FOLDER
    if database.parent == home or beside.is_dir():
        return beside
    if before.is_dir():
        return before
    return in_home if in_home.is_dir() else beside


def send_file(tracking_uri: str, uri: str, file: Path) -> None:
    """Send a file to the folder of artifacts with that URI.

    ``MlflowClient.log_artifact`` would take the place that a run had when this process first wrote to it.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(uri, tracking_uri=tracking_uri).log_artifact(str(file))


def fetch_files(tracking_uri: str, uri: str, suffix: str, target: Path) -> list[Path]:
    """Copy files from the folder of artifacts with that URI, but not from folders in it.

    Args:
        tracking_uri: of MLflow.
        uri: of the folder.
        suffix: of the files' names.
        target: an existing folder.

    Returns:
        The copies.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(uri, tracking_uri=tracking_uri)
    names = [file.path for file in repository.list_artifacts() if not file.is_dir and file.path.endswith(suffix)]
    return [Path(repository.download_artifacts(name, str(target))) for name in names]


def is_there(uri: str, name: str) -> bool:
    """Return whether the folder of artifacts with that URI has a file, as far as this machine can see."""
    folder = _local_folder(uri)
    return folder is None or (folder / name).is_file()


def _local_folder(uri: str) -> Path | None:
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(uri)) if is_local_uri(uri, is_tracking_or_registry_uri=False) else None
