"""The MLflow that sweeps are written to: its address, a quiet client, and the experiment that holds all sweeps."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from trainables.common.process_state import environment, loggers_kept, python_command
from tuner.errors import UserError
from tuner.tracking.artifacts import absolute, check_database, database_file, follow, new_location, with_database

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


EXPERIMENT = "adversarial-tuner"
SWEEP_TAG, RUN_TAG, PARENT_TAG = "tuner.sweep_id", "tuner.run", "mlflow.parentRunId"
"""Which sweep a run of MLflow is of, which of its runs it is, and under which run MLflow shows it."""

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_LOGGERS = ("mlflow", "mlflow.store.db.utils", "alembic")
_SECRETS = ("MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_ADMIN_PASSWORD")


def tracking_uri(home: Path) -> str:
    """Return the address of MLflow: ``MLFLOW_TRACKING_URI``, or by default a SQLite database in the sweeps' home."""
    file = str(home / "mlflow.db").replace("%", "%25").replace("?", "%3F")
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{file}"


def server_command(uri: str, host: str, port: int, *, asks_for_password: bool) -> list[str]:
    """Return the command that starts MLflow's server.

    Args:
        uri: of the database that it shows.
        host: the address that it listens on.
        port: the port that it listens on.
        asks_for_password: whether users sign in; MLflow creates the first one, ``admin``, from the variables
            ``MLFLOW_FLASK_SERVER_SECRET_KEY`` and ``MLFLOW_AUTH_ADMIN_PASSWORD`` of the environment.

    Raises:
        UserError: users are to sign in, and one of these variables is not set.
    """
    command = python_command("mlflow", "server", "--backend-store-uri", absolute(uri), "--host", host)
    # By default uvicorn looks for the application in the current folder first.
    command += ["--uvicorn-opts", f"--app-dir {shlex.quote(sysconfig.get_path('purelib'))}"]
    if asks_for_password:
        missing = [name for name in _SECRETS if not os.environ.get(name)]
        if missing:
            raise UserError(
                f"beyond this machine MLflow must ask for a password: set {' and '.join(missing)} (and `pip install "
                "'mlflow[auth]'`), or type --insecure to let in whoever reaches it"
            )
        command += ["--app-name", "basic-auth"]
    return [*command, "--port", str(port), "--workers", "1"]


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Let MLflow print and log nothing, and give a request up after ten seconds, while this is entered.

    Variables that the user has set stay as they are.
    """
    missing = {name: value for name, value in _QUIET.items() if name not in os.environ}
    with environment(missing):
        _import_mlflow()
        with loggers_kept(_LOGGERS):
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised, too
            yield


def _import_mlflow() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports warn about its own dependencies
        import mlflow.tracking  # noqa: F401


def connect(home: Path) -> MlflowClient:
    """Return a client; call this inside `quiet_mlflow`. A new database is made by one process alone, and whole."""
    _import_mlflow()
    from mlflow.tracking import MlflowClient

    _check_encoding(home)
    uri = tracking_uri(home)
    only_reads = not os.access(home, os.W_OK)
    with contextlib.nullcontext() if only_reads else FileLock(home / ".mlflow.lock"):
        if not only_reads:
            _make_database(uri)
        check_database(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _make_database(uri: str) -> None:
    """Make the SQLite database of a tracking URI, if it names one that is missing: whole or not at all.

    MLflow makes the tables in dozens of steps. A database whose making was cut off between two of them, as by kill -9,
    it never opens again.
    """
    from mlflow.tracking import MlflowClient

    database = database_file(uri)
    if database is None or database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".mlflow-") as folder:
        temporary = Path(folder) / database.name
        MlflowClient(with_database(uri, temporary)).search_experiments(max_results=1)
        try:
            os.link(temporary, database)
        except FileExistsError:  # another host, which does not see the lock, was quicker
            pass
        except OSError:  # a file system without hard links
            temporary.replace(database)


def _check_encoding(home: Path) -> None:
    try:
        str(home).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"MLflow cannot name {os.fsencode(home)!r} in the encoding of this locale, {sys.getfilesystemencoding()}: "
            "set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
        ) from None


def experiment(client: MlflowClient, home: Path) -> str:
    """Return the id of the experiment that holds all sweeps.

    It is created if it is missing. Its artifacts follow the database, see `tuner.tracking.artifacts.follow`.
    """
    from mlflow.exceptions import MlflowException

    uri = tracking_uri(home)
    with FileLock(home / ".mlflow.lock"):
        existing = client.get_experiment_by_name(EXPERIMENT)
        if existing is not None:
            follow(uri, home, existing.artifact_location)
            return str(existing.experiment_id)
        # Without the kind the UI would take the experiment for one of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=new_location(uri), tags=tags))
        except MlflowException:  # a driver on another host, which does not see the lock, was quicker
            existing = client.get_experiment_by_name(EXPERIMENT)
            if existing is None:
                raise
            return str(existing.experiment_id)
