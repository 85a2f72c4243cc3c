"""MLflow's pages on this machine, for the user who opens them and nobody else: what `tuner ui` serves.

``/sweeps/NAME`` leads to the table of a sweep, ``/sweeps`` to that of all.
"""

from __future__ import annotations

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
from tuner.tracking.web.listener import serve_application

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULT_PORT = 5000
_OF_CLIENTS = "MLflow's client does if MLFLOW_TRACKING_TOKEN is TOKEN."
_SWEEPS = "/sweeps"
_NOT_STORED = {"Cache-Control": "no-store"}


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
        token: which requests must contain, see `tuner.tracking.web.token_gate`; None lets in whoever reaches it.
        sweep_name: whose table is found, see `tuner.tracking.views.find_table`.
        on_ready: called with the table when requests are about to be answered.

    Raises:
        UserError: MLflow's database cannot be read, or there is no such sweep.
    """
    with environment_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's imports warn about its own dependencies
        from tuner.tracking.mlflow_internals import web_application

        uri = tracking_uri(home.root)
        with quiet_mlflow():
            client, table = open_table(home, sweep_name)
        app = StartPages(web_application(uri, (home.root / "mlartifacts").resolve()), client, home)
        on_ready(table)
        serve_application(app, listener, token, "tuner ui", _OF_CLIENTS)


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
