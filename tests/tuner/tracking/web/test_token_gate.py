"""Who is let in by the token: every kind of request, with and without it."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie

import pytest

from tuner.tracking.web.token_gate import TokenGate

TOKEN = "a-token-of-this-test"
COOKIE = "tuner-ui-5000"
HOST = ("host", "127.0.0.1:5000")
BEARER = ("authorization", f"Bearer {TOKEN}")
SIGNED_IN = ("cookie", f"other=1; {COOKIE}={TOKEN}")


class Gate:
    """A gate before an application that notes the requests that reach it."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self._gate = TokenGate(self._application, TOKEN, COOKIE, "tuner ui")

    async def _application(self, scope, receive, send) -> None:
        self.passed.append(scope["type"])

    def ask(self, path="/", query="", *headers, method="GET", kind="http"):
        """Return the answer: its start with decoded headers, and its body; None if the request was passed on."""
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": f"{kind}.request"}

        scope = {"type": kind, "path": path, "query_string": query.encode(), "server": ("127.0.0.1", 5000)}
        scope["headers"] = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        scope |= {"scheme": "http", "method": method} if kind == "http" else {"scheme": "ws"}
        asyncio.run(self._gate(scope, receive, send))
        if sent and "headers" in sent[0]:
            sent[0]["headers"] = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", []),
        ("token=", []),
        ("token=another", []),
        (f"Token={TOKEN}", []),
        ("", [("cookie", f"{COOKIE}=another")]),
        ("", [("cookie", f"{COOKIE}-2={TOKEN}")]),
        ("", [("cookie", f"{COOKIE}=\xff\xfe")]),
        ("", [("authorization", TOKEN)]),
        ("", [("authorization", "Bearer")]),
        ("", [("authorization", f"Bearer {TOKEN[:-1]}")]),
        ("", [("authorization", f"Basic {TOKEN}")]),
        ("", [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-user", "root")]),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_without_the_token_nothing_is_answered_but_401_in_words(gate, method, query, headers):
    start, body = gate.ask("/health", query, HOST, *headers, method=method)
    assert start["status"] == 401
    assert b"open the link that `tuner ui` has printed" in body["body"]
    assert TOKEN.encode() not in body["body"]
    assert gate.passed == []


def test_other_kinds_of_connections_are_checked_too(gate):
    assert gate.ask(kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert gate.passed == []
    assert gate.ask("/", "", HOST, SIGNED_IN, kind="websocket") == []
    assert gate.passed == ["websocket"]


@pytest.mark.parametrize("header", [SIGNED_IN, BEARER, ("authorization", f"bearer  {TOKEN} ")])
def test_the_cookie_and_the_header_let_in(gate, header):
    assert gate.ask("/ajax-api/2.0/mlflow/runs/search", "", HOST, header, method="POST") == []
    assert gate.passed == ["http"]


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/", f"token={TOKEN}", "/"),
        ("/", f"a=1&token={TOKEN}&b=%2F", "/?a=1&b=%2F"),
        ("/static-files/x y", f"token={TOKEN}", "/static-files/x%20y"),
        ("//evil.example/", f"token={TOKEN}", "/evil.example/"),
    ],
)
def test_a_link_with_the_token_is_answered_by_a_cookie_and_the_page_without_the_token(gate, path, query, location):
    start, _ = gate.ask(path, query, HOST)
    assert (start["status"], start["headers"]["location"]) == (303, location)
    cookie = SimpleCookie(start["headers"]["set-cookie"])[COOKIE]
    assert cookie.value == TOKEN
    assert (cookie["httponly"], cookie["samesite"].lower(), cookie["path"]) == (True, "strict", "/")
    assert gate.passed == []


FROM_A_LINK = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]


@pytest.mark.parametrize(
    ("path", "query", "headers", "refresh"),
    [
        ("/", "a=1", FROM_A_LINK, "0; url=/?a=1"),
        ("//evil.example/\u20ac", "", FROM_A_LINK, "0; url=/evil.example/%E2%82%AC"),
        ("/\\\\evil.example", "token=another", FROM_A_LINK, "0; url=/%5C%5Cevil.example"),
        ("/", "", FROM_A_LINK[:2], None),
        ("/", "", [("sec-fetch-site", "same-origin"), *FROM_A_LINK[1:]], None),
    ],
)
def test_a_browser_that_comes_from_a_link_on_another_site_asks_again_with_its_cookie(
    gate, path, query, headers, refresh
):
    """Once: when it asks again, it does so from a page of the same origin."""
    start, _ = gate.ask(path, query, HOST, *headers)
    assert (start["status"], start["headers"].get("refresh")) == (401, refresh)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:5000", None),
        ("http://127.0.0.1:6000", 403),
        ("http://localhost:5000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[::1", 403),
        ("", 403),
    ],
)
def test_pages_of_another_origin_are_refused_though_the_browser_sends_the_cookie(gate, origin, status):
    answer = gate.ask("/ajax-api/2.0/mlflow/runs/delete", "", HOST, SIGNED_IN, ("origin", origin), method="POST")
    assert (answer[0]["status"] if answer else None) == status


@pytest.mark.parametrize("host", ["[::1", "", "a b", "\xff", "127.0.0.1:port"])
@pytest.mark.parametrize(("query", "status"), [("", 401), ("token=%ff%00", 401), (f"token={TOKEN}", 303)])
def test_a_host_that_is_none_changes_nothing(gate, host, query, status):
    start, _ = gate.ask("/[", query, ("host", host), *FROM_A_LINK)
    assert start["status"] == status
    assert gate.passed == []
