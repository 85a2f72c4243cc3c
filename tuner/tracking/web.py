"""MLflow's pages on this machine, for the user who opens them and nobody else: what `tuner ui` serves.

``/sweeps/NAME`` leads to the table of a sweep, ``/sweeps`` to that of all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trainables.common.process_state import environment_kept
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.tracking.artifacts import follow
from tuner.tracking.mlflow_internals import NARROW_STYLE, start_page
from tuner.tracking.server import EXPERIMENT, connect, quiet_mlflow, tracking_uri
from tuner.tracking.views import Table, find_table

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT_PORT = 5000
_PORTS_TRIED = 100
_GRACE_S = 3
_SWEEPS = "/sweeps"
_NOT_STORED = {"Cache-Control": "no-store"}


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


def path_of(table: Table) -> str:
    """Return the path of the page that leads to a table."""
    return _SWEEPS if table.sweep is None else f"{_SWEEPS}/{table.sweep}"


def serve(
    home: SweepStore,
    listener: socket.socket,
    token: str | None,
    sweep_name: str | None,
    on_ready: Callable[[Table], None],
) -> None:
    """Serve MLflow's pages and API until Ctrl-C or SIGTERM.

    Args:
        home: of the sweeps.
        listener: where.
        token: which requests must contain, see `tuner.tracking.token_gate`; None lets in whoever reaches it.
        sweep_name: whose table is found, see `tuner.tracking.views.find_table`.
        on_ready: called with the table when requests are about to be answered.

    Raises:
        UserError: MLflow's database cannot be read, or there is no such sweep.
    """
    with environment_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's imports warn about its own dependencies
        import uvicorn

        from tuner.tracking.mlflow_internals import web_application
        from tuner.tracking.token_gate import TokenGate

        uri = tracking_uri(home.root)
        with quiet_mlflow():
            client, table = open_table(home, sweep_name)
        app = StartPages(web_application(uri, (home.root / "mlartifacts").resolve()), client, home)
        gated = app if token is None else TokenGate(app, token, f"tuner-ui-{listener.getsockname()[1]}")
        # The access log would have the token of the link.
        config = uvicorn.Config(gated, log_level="error", access_log=False, timeout_graceful_shutdown=_GRACE_S)
        on_ready(table)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listener])


def open_table(home: SweepStore, sweep_name: str | None) -> tuple[MlflowClient, Table]:
    """Return a client and the table of a sweep, or of all; call this inside `quiet_mlflow`.

    A database that is missing is made, and the artifacts of one that was moved are found.

    Args:
        home: of the sweeps.
        sweep_name: see `tuner.tracking.views.find_table`.

    Raises:
        UserError: MLflow cannot be read, or there is no such sweep.
    """
    uri = tracking_uri(home.root)
    try:
        client = connect(home.root)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            follow(uri, home.root, experiment.artifact_location)
        return client, find_table(client, home, sweep_name)
    except UserError:
        raise
    except Exception as error:  # whatever MLflow and its databases raise
        raise UserError(f"MLflow at {uri} cannot be read: {str(error).splitlines()[0]}") from error


class StartPages:
    """An ASGI application that answers ``/sweeps`` and ``/sweeps/NAME`` itself, and passes other requests on.

    MLflow's own page is sent with a style for narrow screens.

    Args:
        app: that serves MLflow's pages.
        client: of the same MLflow.
        home: of the sweeps.
    """

    def __init__(self, app: ASGIApp, client: MlflowClient, home: SweepStore) -> None:
        self._app = app
        self._client = client
        self._home = home

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        from starlette.concurrency import run_in_threadpool

        path = scope.get("path", "").rstrip("/")
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
        elif path == "":
            await self._app(scope, receive, _with_style(send))
        elif path == _SWEEPS or path.startswith(f"{_SWEEPS}/"):
            answer = await run_in_threadpool(self._answer, path.removeprefix(_SWEEPS).lstrip("/"))
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _answer(self, name: str) -> Response:
        from starlette.responses import HTMLResponse, PlainTextResponse

        try:
            table = find_table(self._client, self._home, name or None)
        except UserError as error:
            return PlainTextResponse(f"404: {error}\n", 404, _NOT_STORED)
        return HTMLResponse(start_page(table.page), headers=_NOT_STORED)


def _with_style(send: Send) -> Send:
    """Return a function that sends a page of HTML with a style added."""
    from starlette.datastructures import MutableHeaders

    begin: dict[str, Any] = {}
    content = bytearray()

    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            begin.update(message)
            return
        content.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        body = bytes(content).replace(b"</head>", NARROW_STYLE + b"</head>", 1)
        headers = MutableHeaders(raw=list(begin["headers"]))
        headers["content-length"] = str(len(body))
        for name in ("etag", "last-modified"):  # they are of the file
            del headers[name]
        await send({**begin, "headers": headers.raw})
        await send({"type": "http.response.body", "body": body})

    return forward
