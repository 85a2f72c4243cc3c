"""What the image brings of its own: the entrypoint, the health check, the password of the dashboard."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.machinery import SourceFileLoader

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.docker.manifests import DOCKER, compose
from tests.tuner.conftest import SPACE
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder

SERVICES = compose("compose.yaml")["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("adversarial-tuner:")}


def script(name):
    """Import a script of docker/, whose name has no ending."""
    loader = SourceFileLoader(f"docker_{name}", str(DOCKER / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_bytecode(monkeypatch):
    monkeypatch.setattr("sys.dont_write_bytecode", True)


def enter(environment, *command):
    return subprocess.run(
        [DOCKER / "entrypoint", *command],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("value", ["plain", "$HOME `id` \"quoted' \\n #", " space ", "ünïcode=1"])
def test_secrets_enter_the_environment_as_they_are(tmp_path, value):
    (tmp_path / "secret").write_text(value)
    shown = enter({"A_PASSWORD_FILE": str(tmp_path / "secret"), "OTHER": "1"}, "env").stdout.decode().splitlines()
    assert f"A_PASSWORD={value}" in shown
    assert "OTHER=1" in shown
    assert not any(line.startswith("A_PASSWORD_FILE=") for line in shown)


def test_nothing_starts_without_its_secrets(tmp_path):
    done = enter({"A_PASSWORD_FILE": str(tmp_path / "none")}, "echo", "started")
    assert done.returncode != 0
    assert done.stdout == b""
    assert b"none" in done.stderr


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("before", [["entrypoint"], ["/sbin/docker-init", "--", "entrypoint"], ["python3"]])
def test_every_service_has_a_health_check(name, before):
    urls = script("healthcheck").urls([*before, *OURS[name]["command"]])
    ports = {str(port["target"]) for port in OURS[name].get("ports", ())}
    assert urls
    assert all(any(f":{port}/" in url for url in urls) for port in ports)


def test_a_command_that_is_no_server_is_well():
    assert script("healthcheck").urls(["entrypoint", "tuner", "launch", "digits"]) == ()


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (401, True), (404, False), (500, False), (503, False)])
def test_health_is_what_the_server_says(status, is_well):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert script("healthcheck").answers(f"http://127.0.0.1:{server.server_port}/") is is_well
        thread.join()
    assert not script("healthcheck").answers(f"http://127.0.0.1:{server.server_port}/")


def ask(app, method="GET", path="/", **headers):
    """Return the status and the body with which a WSGI application answers."""
    statuses = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "SERVER_NAME": "here", "SERVER_PORT": "80", **headers}
    body = b"".join(app({**environ, "wsgi.url_scheme": "http"}, lambda status, *_: statuses.append(status)))
    return statuses[0][:3], body


def login(user, password):
    return {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@given(st.text(), st.sampled_from(["Basic", "basic", "Bearer", ""]))
def test_nobody_guesses_the_way_in(text, kind):
    app = script("dashboard").guarded("the password")
    assert ask(app, HTTP_AUTHORIZATION=f"{kind} {text}")[0] == "401"
    assert ask(app, **login(text.replace(":", ""), "not " + text))[0] == "401"


def test_the_dashboard_shows_a_sweep_and_changes_nothing(tmp_path, monkeypatch):
    made = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path)
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    app = script("dashboard").guarded("the password")
    assert b"has no study yet" in ask(app, **login("tiny", "the password"))[1]
    Ledger(made)
    before = made.journal.read_bytes()
    status, body = ask(app, path="/api/studies", **login("tiny", "the password"))
    assert status == "200"
    assert "search" in [study["study_name"] for study in json.loads(body)["study_summaries"]]
    assert ask(app, method="DELETE", path="/api/studies/0", **login("tiny", "the password"))[0] == "403"
    assert ask(app, **login("other", "the password"))[0] == "401"
    assert made.journal.read_bytes() == before
