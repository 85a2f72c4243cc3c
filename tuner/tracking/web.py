"""MLflow's pages on this machine, for the user who opens them and nobody else: what `tuner ui` serves."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

from trainables.common.process_state import environment_kept
from tuner.errors import UserError
from tuner.tracking.artifacts import follow
from tuner.tracking.server import EXPERIMENT, connect, quiet_mlflow, tracking_uri

DEFAULT_PORT = 5000
_PORTS_TRIED = 100
_GRACE_S = 3


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens: from now on nobody else can have its port.

    Args:
        host: name or address of this machine.
        port: its port; by default 5000, or the next one that is free.

    Raises:
        UserError: the port is taken or not allowed, or the host is not this machine.
    """
    try:
        family, *_, (number, *_) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"--host {host}: {error}") from None
    for candidate in [port] if port else range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED):
        try:
            return socket.create_server((str(number), candidate), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"cannot listen on {host} port {candidate}: {os.strerror(error.errno or 0)}") from None
    if port:
        raise UserError(
            f"port {port} of {host} is taken: give another one with --port; without --port the first free one from "
            f"{DEFAULT_PORT} is used"
        )
    raise UserError(
        f"ports {DEFAULT_PORT} to {DEFAULT_PORT + _PORTS_TRIED - 1} of {host} are taken: give another one with --port"
    )


def address(listener: socket.socket) -> str:
    """Return the URL of what a socket serves, with its address in numbers: a name may have another server, too."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def serve(home: Path, listener: socket.socket, token: str | None, on_ready: Callable[[], None]) -> None:
    """Serve MLflow's pages and API until Ctrl-C or SIGTERM.

    Args:
        home: of the sweeps.
        listener: where.
        token: which requests must contain, see `tuner.tracking.token_gate`; None lets in whoever reaches it.
        on_ready: called when requests are about to be answered.

    Raises:
        UserError: MLflow's database cannot be read.
    """
    with environment_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's imports warn about its own dependencies
        import uvicorn

        from tuner.tracking.mlflow_internals import web_application
        from tuner.tracking.token_gate import TokenGate

        uri = tracking_uri(home)
        try:
            with quiet_mlflow():
                _open_database(home)
        except Exception as error:  # whatever MLflow and its databases raise
            raise UserError(f"MLflow at {uri} cannot be read: {str(error).splitlines()[0]}") from error
        app = web_application(uri, (home / "mlartifacts").resolve())
        gated = app if token is None else TokenGate(app, token, f"tuner-ui-{listener.getsockname()[1]}")
        # The access log would have the token of the link.
        config = uvicorn.Config(gated, log_level="error", access_log=False, timeout_graceful_shutdown=_GRACE_S)
        on_ready()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listener])


def _open_database(home: Path) -> None:
    """Make a database that is missing, and see to it that the artifacts of one that was moved are found."""
    experiment = connect(home).get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        follow(tracking_uri(home), home, experiment.artifact_location)
