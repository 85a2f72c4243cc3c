"""The PostgreSQL servers that the user has named; a sweep's folder, which may be somebody else's, may name any other.

A server is known once a study was put there with ``--study-storage``, or if ``PGHOST`` and ``PGPORT`` name it, or a
line of libpq's password file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainables.storage.atomic import cache_folder, reason_of
from tuner.errors import UserError

_FILE = "known-databases"  # in this user's cache: a line for each server
_PORT = "5432"


def check_known(parts: Mapping[str, object]) -> None:
    """Check that the user has named the servers of a connection.

    Args:
        parts: of its connection string, as libpq reads it.

    Raises:
        UserError: there is one that the user has not named; the message says how to.
    """
    for server in _unknown(parts):
        host, _, port = server.rpartition(":")
        raise UserError(
            f"the study's database at {server} cannot be used: the sweep names that server, and you have not used it "
            f"before. If it is yours, say so by PGHOST={host} and PGPORT={port} in the environment"
        )


def remember(parts: Mapping[str, object]) -> None:
    """Note that the user has named the servers of a connection.

    Args:
        parts: of its connection string, as libpq reads it.

    Raises:
        UserError: the cache cannot be written.
    """
    new, path = _unknown(parts), cache_folder(_FILE)
    try:
        if new:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.writelines(f"{server}\n" for server in new)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {reason_of(error)}; set TUNER_CACHE to a folder that can be written"
        ) from error


def _unknown(parts: Mapping[str, object]) -> list[str]:
    known = {*_noted(), *_servers(os.environ.get("PGHOST"), None), *_in_password_file()}
    return [server for server in _servers(parts.get("host"), parts.get("port")) if server not in known]


def _servers(host: object, port: object) -> list[str]:
    """Return servers as ``host:port``, of lists as libpq has them; none if its own default is meant."""
    hosts = str(host).lower().split(",") if host else []
    ports = str(port or os.environ.get("PGPORT") or _PORT).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return [f"{name}:{number or _PORT}" for name, number in zip(hosts, ports, strict=False)]


def _noted() -> list[str]:
    try:
        return cache_folder(_FILE).read_text().splitlines()
    except (OSError, ValueError):
        return []


def _in_password_file() -> Iterator[str]:
    """Yield the servers that have a password of their own, which libpq sends to no other."""
    path = Path(os.environ.get("PGPASSFILE") or "~/.pgpass").expanduser()
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            host, port = [*line.split(":"), "", ""][:2]
            if host not in ("", "*") and port.isdigit() and "\\" not in host:
                yield f"{host.lower()}:{port}"
