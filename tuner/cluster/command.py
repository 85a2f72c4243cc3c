"""A command as it goes to a cluster: its words, its files, and the variables that go along; no secret is among them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tuner.cluster.nodes import JOB_ENVIRONMENT
from tuner.errors import UserError

_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")


@dataclass(frozen=True)
class Asked:
    """A command as it was asked for: ``words`` follow it, ``output`` is a file or folder that it is to make here."""

    command: str
    words: list[str]
    sweep: str | None
    storage: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    output: Path | None = None
    run: str | None = None
    streams: bool = False

    def __post_init__(self) -> None:
        """Refuse a password, before it goes anywhere."""
        _check_no_password(self.words)


def environment() -> dict[str, str]:
    """Return the variables that a job takes along: everybody on the cluster can read them, so no secret is among them.

    Raises:
        UserError: MLflow's address holds a password.
    """
    found = dict(JOB_ENVIRONMENT)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if urlsplit(uri).scheme in ("http", "https"):
        if "@" in urlsplit(uri).netloc:
            raise UserError(
                "MLFLOW_TRACKING_URI holds a user or password, which everybody on the cluster could read: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD on the cluster's nodes instead"
            )
        found["MLFLOW_TRACKING_URI"] = uri
    return found


def digest(asked: Asked) -> str:
    """Return what tells two launches of the same name apart: space, options and storage."""
    return hashlib.sha256(json.dumps([asked.words, asked.files], sort_keys=True).encode()).hexdigest()


def _check_no_password(words: Sequence[str]) -> None:
    for word in words:
        if _PASSWORD.search(word):
            raise UserError(
                f"{_PASSWORD.sub('://...@', word)}: no password may stand in a command, which everybody on the cluster "
                "can read: libpq takes it from PGPASSWORD or the file PGPASSFILE, set on the cluster's nodes"
            )
