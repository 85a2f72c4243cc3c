"""A command that is sent to a cluster: its arguments, its files and its environment variables, without any secret."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from trainables.common.redaction import holds_secret, redact_arguments
from tuner.cluster.nodes import JOB_ENVIRONMENT
from tuner.errors import UserError

MAX_UPLOADS = 80 * 1024**2  # Ray's Jobs API takes 100 MB at once


@dataclass(frozen=True)
class RemoteCommand:
    """A command of ``tuner`` for a cluster to run.

    Args:
        command: its name, like ``launch``.
        argv: the options and arguments that follow the name.
        sweep: the name of the sweep that it is about, if there is one.
        storage: the home of that sweep on the cluster, if it was typed.
        files: texts by the names of the files that the cluster puts them into, for the command to read.
        uploads: contents of further files by their names, which are too large to be sent as text.
        packages: versions of installed packages whose plug-ins it names, by their names.
        output: the file or folder that it makes on this machine.
        run: the run that it is about, if one was typed.
        follow: whether its output is printed while it runs; otherwise all at once when it has ended.

    Raises:
        UserError: a secret is among the arguments, or the files are too large.
    """

    command: str
    argv: list[str]
    sweep: str | None
    storage: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    output: Path | None = None
    run: str | None = None
    follow: bool = False

    def __post_init__(self) -> None:
        """Refuse a secret, and files that are too large, before anything is sent."""
        _check_no_secret(self.argv)
        if (size := sum(map(len, self.uploads.values()))) > MAX_UPLOADS:
            raise UserError(
                f"{', '.join(self.uploads)} have {size / 1e6:.0f} MB, and a job takes {MAX_UPLOADS / 1e6:.0f} MB along"
                ": launch on a machine of the cluster, without --cluster"
            )


def environment() -> dict[str, str]:
    """Return the environment variables of a job; everybody on the cluster can read them, so none holds a secret.

    Raises:
        UserError: MLflow's address holds a user, password or token.
    """
    variables = dict(JOB_ENVIRONMENT)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if urlsplit(uri).scheme in ("http", "https"):
        if holds_secret(uri):
            raise UserError(
                "MLFLOW_TRACKING_URI holds a user or password, which everybody on the cluster could read: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD on the cluster's nodes instead"
            )
        variables["MLFLOW_TRACKING_URI"] = uri
    return variables


def digest(command: RemoteCommand) -> str:
    """Return a SHA-256 of the arguments and files, by which two launches of the same name are told apart."""
    parts: list[object] = [command.argv, command.files]
    if command.uploads:
        parts.append({name: hashlib.sha256(content).hexdigest() for name, content in command.uploads.items()})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_no_secret(argv: Sequence[str]) -> None:
    for word, masked in zip(argv, redact_arguments(argv), strict=True):
        if word != masked:
            raise UserError(
                f"{masked}: no secret may stand in a command, which everybody on the cluster can read: passwords come "
                "from PGPASSWORD or the file PGPASSFILE and from AWS_* variables, set on the cluster's nodes"
            )
