"""Where pages are served on this machine: a socket that nobody else has, and whoever has the token gets an answer."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

from tuner.errors import UserError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_PORTS_TRIED = 100
_GRACE_S = 3


def listen(host: str, port: int | None, usual_port: int) -> socket.socket:
    """Return a socket that listens: from now on nobody else can have its port.

    Args:
        host: name or address of this machine.
        port: its port; by default the usual one, or the next one that is free.
        usual_port: of what is served.

    Raises:
        UserError: the port is taken or not allowed, or the host is not this machine.
    """
    try:
        family, *_, (number, *_) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"--host {host}: {error}") from None
    for candidate in [port] if port else range(usual_port, usual_port + _PORTS_TRIED):
        try:
            return socket.create_server((str(number), candidate), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"cannot listen on {host} port {candidate}: {os.strerror(error.errno or 0)}") from None
    if port:
        raise UserError(
            f"port {port} of {host} is taken: give another one with --port; without --port the first free one from "
            f"{usual_port} is used"
        )
    raise UserError(
        f"ports {usual_port} to {usual_port + _PORTS_TRIED - 1} of {host} are taken: give another one with --port"
    )


def address(listener: socket.socket) -> str:
    """Return the URL of what a socket serves, with its address in numbers: a name may have another server, too."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def serve_application(app: ASGIApp, listener: socket.socket, token: str | None, command: str, advice: str = "") -> None:
    """Serve an application until Ctrl-C or SIGTERM.

    Args:
        app: the application.
        listener: where.
        token: which requests must contain, see `tuner.tracking.web.token_gate`; None lets in whoever reaches it.
        command: that serves it, such as ``tuner ui``.
        advice: how else a program may send the token.
    """
    import uvicorn

    from tuner.tracking.web.token_gate import TokenGate

    if token is not None:
        app = TokenGate(app, token, f"{command.replace(' ', '-')}-{listener.getsockname()[1]}", command, advice)
    # The access log would have the token of the link.
    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=_GRACE_S)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listener])
