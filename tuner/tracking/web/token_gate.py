"""Who may use pages that a command serves: whoever has the token that it has printed, as with Jupyter."""

from __future__ import annotations

import secrets
from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_UNKNOWN = """\
401: this page is open only to the user who started it.
In a browser, open the link that `{command}` has printed; it contains a token, a new one at
every start. Programs send it in the header "Authorization: Bearer TOKEN". {advice}
"""
_UNKNOWN_HEADERS = {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"}
_OTHER_PAGE = "403: a page of another address may not use this one.\n"


class TokenGate:
    """An ASGI application that passes requests on to another one if they contain a token.

    The token is taken from the query of a link (``?token=``), which is answered by a cookie and a redirect to the same
    page without the token; from that cookie; or from the header ``Authorization: Bearer``. Requests of pages of another
    origin are refused even with the cookie, because browsers send it to and from all ports of a host.

    Args:
        app: the application; every kind of request to it is checked, WebSockets among them.
        token: the token.
        cookie: name of the cookie. Servers on other ports of the host share its cookies, so it should have the port.
        command: that serves the application, for the refusal.
        advice: a sentence for the refusal: how else programs may send the token.
    """

    def __init__(self, app: ASGIApp, token: str, cookie: str, command: str, advice: str = "") -> None:
        self._app = app
        self._token = token.encode()
        self._cookie = cookie
        self._unknown = _UNKNOWN.format(command=command, advice=advice).rstrip() + "\n"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        refusal = None if scope["type"] == "lifespan" else self._answer(HTTPConnection(scope))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _answer(self, request: HTTPConnection) -> Response | None:
        """Return the answer to a request that is not passed on."""
        if self._is_token(request.query_params.get("token")):
            return self._signed_in(request)
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        bearer = credentials.strip() if scheme.lower() == "bearer" else None
        if not (self._is_token(request.cookies.get(self._cookie)) or self._is_token(bearer)):
            return PlainTextResponse(self._unknown, 401, {**_UNKNOWN_HEADERS, **_again(request)})
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            return PlainTextResponse(_OTHER_PAGE, 403)
        return None

    def _is_token(self, candidate: str | None) -> bool:
        return candidate is not None and secrets.compare_digest(candidate.encode(), self._token)

    def _signed_in(self, request: HTTPConnection) -> Response:
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        response = RedirectResponse(_page(request), 303, headers)
        response.set_cookie(self._cookie, self._token.decode(), httponly=True, samesite="strict")
        return response


def _page(request: HTTPConnection) -> str:
    """Return the path and query of a request, without the token; the path never names another host."""
    path = quote("/" + request.scope["path"].lstrip("/"))
    query = request.url.remove_query_params("token").query
    return f"{path}?{query}" if query else path


def _again(request: HTTPConnection) -> dict[str, str]:
    """Return the header that lets a browser ask again if it comes from a link on a page of another site.

    It sends no cookie then, not even the one that it has just been given, but it does when it asks again.
    """
    fetch = [request.headers.get(f"sec-fetch-{name}") for name in ("site", "mode", "dest")]
    return {"Refresh": f"0; url={_page(request)}"} if fetch == ["cross-site", "navigate", "document"] else {}
