"""Where pages are served: on a port that nobody else has, or it says that there is none."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.support.servers import free_port
from tuner.errors import UserError
from tuner.tracking.web import listener as module
from tuner.tracking.web.listener import address, listen


def test_a_taken_port_is_refused_where_it_was_asked_for(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, output = run("ui", "--home", str(tmp_path), "--port", str(port))
    assert code == 2
    assert f"port {port} of 127.0.0.1 is taken: give another one with --port" in output.replace("\n", " ")


@pytest.mark.parametrize("content", [None, b"no database"])
def test_a_database_that_cannot_be_read_is_said_at_once(run, tmp_path, monkeypatch, content):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    database = tmp_path / "mlflow.db"
    database.mkdir() if content is None else database.write_bytes(content)
    code, output = run("ui", "--home", str(tmp_path))
    assert code == 2
    assert "MLflow at sqlite://" in output
    assert "cannot be read" in output.replace("\n", " ")


def test_by_default_the_next_free_port_is_taken(monkeypatch):
    usual = free_port()
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(listen("127.0.0.1", None, usual)) for _ in range(2))
        assert address(first) == f"http://127.0.0.1:{usual}"
        assert second.getsockname()[1] > usual
        monkeypatch.setattr(module, "_PORTS_TRIED", 1)
        with pytest.raises(UserError, match="are taken: give another one with --port"):
            listen("127.0.0.1", None, usual)


def test_nobody_else_can_have_the_port_from_then_on():
    """Before the link with the token is printed."""
    with listen("127.0.0.1", None, 5000) as listener:
        for host in ("127.0.0.1", "0.0.0.0"):
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    other.bind((host, listener.getsockname()[1]))


def test_the_link_has_the_address_and_not_a_name_that_may_have_another_server():
    with listen("localhost", free_port(), 5000) as listener:
        assert "localhost" not in address(listener)


@pytest.mark.parametrize(("host", "words"), [("192.0.2.1", "cannot listen on"), ("no.such.invalid", "--host")])
def test_what_is_not_this_machine_is_refused_in_words(host, words):
    with pytest.raises(UserError, match=words):
        listen(host, 5000, 5000)
