"""optuna-dashboard on the study of a sweep, to look at only: what `tuner dashboard` serves.

By itself it has no password, and can rename, write and delete studies. Here the journal is opened for reading, and no
request but GET and HEAD reaches it.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import socket
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from trainables.errors import MissingExtraError
from tuner.errors import TunerError, UserError
from tuner.storage.journal import replaying
from tuner.storage.shown_storage import ShownStorage
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import BASELINES, CONFIRM, SEARCH, open_journal
from tuner.tracking.web.listener import serve_application

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

DEFAULT_PORT = 8080
_READING = ("GET", "HEAD")
_OF_THE_STUDY = ("/api/", "/csv/")
_PULL_EVERY_S = 5
_WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ShownStudies:
    """The studies of a sweep as the dashboard shows them; a driver may be writing them meanwhile.

    Attributes:
        storage: of the studies; it refuses to write.
        path: of the page that shows the search.

    Args:
        sweep: the sweep.

    Raises:
        UserError: the sweep has no study yet, its journal is damaged, or its database cannot be reached.
    """

    def __init__(self, sweep: SweepFolder) -> None:
        self._sweep = sweep
        self._pulled = -float("inf")
        self._pull()
        journal = open_journal(sweep)
        objectives = [objective.metric for objective in sweep.space.objectives]
        names = {SEARCH: objectives, BASELINES: objectives, CONFIRM: objectives[:1]}
        if journal is None:
            raise self._has_none()
        with replaying(journal.place):
            self.storage = ShownStorage(journal, names)
        self._place = journal.place
        try:
            self.path = f"/dashboard/studies/{self.storage.get_study_id_from_name(SEARCH)}"
        except KeyError:
            raise self._has_none() from None

    def refresh(self) -> None:
        """Read what the driver has added.

        Raises:
            UserError: the journal is damaged, or its database cannot be reached.
        """
        self._pull()
        with replaying(self._place):
            self.storage.get_study_name_from_id(0)

    def _pull(self) -> None:
        if time.monotonic() > self._pulled + _PULL_EVERY_S:
            self._sweep.store.pull(self._sweep.folder)
            self._pulled = time.monotonic()

    def _has_none(self) -> UserError:
        name = self._sweep.name
        return UserError(
            f"{name} has no study yet: see `tuner status {name}`; its driver makes one before its first run"
        )


class ReadOnlyPages:
    """An ASGI application that passes on requests that read, and answers others with 405.

    What is wrong with the study is answered in words, too.

    Args:
        app: the dashboard.
        studies: that it shows.
    """

    def __init__(self, app: ASGIApp, studies: ShownStudies) -> None:
        self._app = app
        self._studies = studies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse

        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        if scope["method"] not in _READING:
            reason = "405: these pages are to look at only; nothing of the study can be changed here"
            await JSONResponse({"reason": reason}, 405, {"Allow": ", ".join(_READING)})(scope, receive, send)
            return
        try:
            if scope["path"].startswith(_OF_THE_STUDY):
                await run_in_threadpool(self._studies.refresh)
        except TunerError as error:
            await JSONResponse({"reason": str(error)}, 503)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def open_studies(sweep: SweepFolder) -> ShownStudies:
    """Return the studies of a sweep for the dashboard.

    Raises:
        MissingExtraError: optuna-dashboard is not installed.
        UserError: the sweep has no study yet, its journal is damaged, or its database cannot be reached.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise MissingExtraError("Optuna's dashboard needs the extra: pip install 'adversarial-tuner[dashboard]'")
    return ShownStudies(sweep)


def dashboard(studies: ShownStudies) -> ReadOnlyPages:
    """Return the dashboard as an ASGI application."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uvicorn recommends another package for WSGI, which it uses if it is there
        import optuna_dashboard

        as_asgi = importlib.import_module("uvicorn.middleware.wsgi").WSGIMiddleware
        logging.getLogger("optuna_dashboard").setLevel(logging.CRITICAL)  # what it logs, it answers, too
        return ReadOnlyPages(as_asgi(_quiet(optuna_dashboard.wsgi(studies.storage))), studies)


def _quiet(app: _WsgiApp) -> _WsgiApp:
    """Return a WSGI application that prints no tracebacks, needs only the headers of HTTP 1.0, and closes its files."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        ours = {"SERVER_PORT": str(environ["SERVER_PORT"]), "wsgi.errors": io.StringIO()}
        body = app({"HTTP_ACCEPT_ENCODING": "", **environ, **ours}, start_response)
        try:
            yield from body
        finally:
            getattr(body, "close", lambda: None)()

    return answer


def serve(studies: ShownStudies, listener: socket.socket, token: str) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM.

    Args:
        studies: that it shows.
        listener: where.
        token: which requests must contain, see `tuner.tracking.web.token_gate`.
    """
    serve_application(dashboard(studies), listener, token, "tuner dashboard")
