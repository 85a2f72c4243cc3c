"""`tuner ui` as it is served: nobody but who has the link gets an answer, and who has it can use all of it."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from tests.support.other_user import as_nobody, needs_root
from tests.support.sockets import descendants, listening
from tests.tuner.conftest import SPACE, train_all
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.tracking.server import EXPERIMENT, quiet_mlflow
from tuner.tracking.sync import mirror_now

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PATHS = [
    *(
        "/",
        "/sweeps",
        "/sweeps/tiny",
        "/health",
        "/version",
        "/metrics",
        "/nowhere",
        "/openapi.json",
        "//",
        "/../health",
        "/?token=guess",
    ),
    *(
        "/static-files/index.html",
        "/get-artifact?path=a",
        "/model-versions/get-artifact?path=a",
        "/graphql",
        "/v1/traces",
    ),
    *("/api/2.0/mlflow/experiments/search?max_results=1", "/ajax-api/2.0/mlflow/runs/search"),
    *("/api/2.0/mlflow/runs/delete", "/ajax-api/2.0/mlflow/upload-artifact", "/api/3.0/mlflow/server-info"),
    *("/api/2.0/mlflow-artifacts/artifacts/x", "/ajax-api/2.0/mlflow-artifacts/artifacts/x"),
    *("/ajax-api/3.0/jobs/", "/ajax-api/3.0/mlflow/assistant/config", "/gateway/x/mlflow/invocations"),
]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
ASK = """
addresses, methods, paths = arguments
upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
answers = []
for host, port in addresses:
    for method in (*methods, "upgrade"):
        for path in paths:
            connection = http.client.HTTPConnection(host, port, timeout=60)
            if method == "upgrade":
                connection.request("GET", path, None, upgrade)
            else:
                connection.request(method, path, b"{}")
            answers.append([connection.getresponse().status, method, path])
            connection.close()
print(json.dumps(answers))
"""
LOOK = """
pid, home = arguments
def tried(read):
    try:
        return read()
    except PermissionError:
        return "denied"
process = pathlib.Path(f"/proc/{pid}")
print(json.dumps([
    (process / "cmdline").read_text(),
    tried((process / "environ").read_text),
    tried(lambda: os.listdir(home)),
    tried(lambda: (pathlib.Path(home) / "mlflow.db").read_bytes().decode("latin-1")),
]))
"""


@dataclass
class Ui:
    process: subprocess.Popen[bytes]
    home: Path
    output: Path
    link: str

    @property
    def token(self) -> str:
        return self.link.partition("token=")[2]

    @property
    def address(self) -> str:
        return urlsplit(self.link).netloc

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        connection.close()
        return answer

    def as_owner(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        """Ask as a browser does that has followed the link."""
        cookie = SimpleCookie(self.ask("GET", f"/?token={self.token}")[1]["set-cookie"]).output([], "", ";").strip()
        status, _, content = self.ask(method, path, body, Cookie=cookie, **headers)
        return status, content


@pytest.fixture(scope="module")
def ui() -> Iterator[Ui]:
    """Return the UI of a home with one sweep, started where port 5000 is taken."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        stack.enter_context(pytest.MonkeyPatch.context()).delenv("MLFLOW_TRACKING_URI", raising=False)
        sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=folder / "home", num_trials=1)
        train_all(Ledger(sweep))
        mirror_now(sweep, Console(file=io.StringIO()), with_runs=False)
        for place in (folder, folder / "home"):
            for module in ("mlflow", "uvicorn", "sitecustomize"):
                (place / f"{module}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
        with contextlib.suppress(OSError):  # somebody else has it
            stack.enter_context(socket.create_server(("127.0.0.1", 5000)))
        output = folder / "output"
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", "ui", "--home", str(folder / "home")],
            stdout=stack.enter_context(output.open("wb")),
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            yield Ui(process, folder / "home", output, _link(process, output))
        finally:
            process.kill()
            process.wait(60)


def _link(process: subprocess.Popen[bytes], output: Path) -> str:
    while (link := re.search(r"http://\S+", output.read_text())) is None:
        assert process.poll() is None, output.read_text()
        time.sleep(0.2)
    return link[0]


def test_where_the_usual_port_is_taken_it_says_which_it_has(ui):
    assert f"Port 5000 is taken; this one listens on {ui.address.partition(':')[2]}\n" in ui.output.read_text()


@needs_root
def test_another_user_gets_no_answer_but_a_refusal_from_any_socket(ui):
    addresses = listening(descendants(ui.process.pid))
    assert addresses == [("127.0.0.1", int(ui.address.partition(":")[2]))]
    answers = as_nobody(ASK, addresses, METHODS, PATHS)
    assert len(answers) == (len(METHODS) + 1) * len(PATHS)
    assert [answer for answer in answers if answer[0] not in (401, 403)] == []


@needs_root
def test_another_user_sees_neither_the_token_nor_the_home(ui):
    command_line, environment, files, database = as_nobody(LOOK, ui.process.pid, str(ui.home))
    assert "tuner\0ui" in command_line
    assert ui.token not in command_line
    assert environment == files == database == "denied"


def test_the_owner_reads_and_writes_with_the_cookie_and_with_the_header(ui, monkeypatch):
    status, page = ui.as_owner("GET", "/")
    assert status == 200
    assert b"<title>MLflow</title>" in page
    script = re.search(rb'src="([^"]+\.js)"', page)[1].decode()
    assert ui.as_owner("GET", f"/{script.lstrip('./')}")[0] == 200
    status, page = ui.as_owner("GET", "/sweeps/tiny")
    assert status == 200
    assert ui.as_owner("GET", "/sweeps/tinny")[0] == 404
    assert re.search(rb"/#/experiments/1/runs\?workflowType=machine_learning&viewStateShareKey=\w{32}", page)
    query = {"experiment_ids": ["1"]}
    path, kind = "/ajax-api/2.0/mlflow/runs/search", {"Content-Type": "application/json"}
    status, content = ui.as_owner("POST", path, query, Origin=f"http://{ui.address}", **kind)
    assert status == 200
    assert len(json.loads(content)["runs"]) == 4
    assert ui.as_owner("POST", path, query, Origin="http://127.0.0.1:1", **kind)[0] == 403
    assert ui.as_owner("GET", "/version", Host="evil.example")[0] == 200, "MLflow exempts it"
    assert ui.as_owner("POST", path, query, Host="evil.example", **kind)[0] == 403

    from mlflow.tracking import MlflowClient

    with quiet_mlflow():
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", ui.token)
        client = MlflowClient(f"http://{ui.address}")
        run = client.create_run(client.create_experiment("by HTTP"))
        client.log_text(run.info.run_id, "text", "note.txt")
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["note.txt"]
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "another")
        with pytest.raises(Exception, match="401"):
            client.get_experiment_by_name(EXPERIMENT)


def test_no_link_leads_out_of_the_artifacts(ui):
    picture = next(ui.home.glob("mlflow-artifacts/*/artifacts/comparison.png"))
    run, secret = picture.parts[-3], ui.home.parent / "key"
    secret.write_text("secret")
    secret.chmod(0o600)
    (picture.parent / "link.txt").symlink_to(secret)
    assert ui.as_owner("GET", f"/get-artifact?run_uuid={run}&path=comparison.png") == (200, picture.read_bytes())
    status, content = ui.as_owner("GET", f"/get-artifact?run_uuid={run}&path=link.txt")
    assert (status, b"secret" in content) == (400, False)

    folder = ui.home.parent / "evil"
    kind = {"Content-Type": "application/json"}
    query = {"name": "evil", "artifact_location": str(folder)}
    made = json.loads(ui.as_owner("POST", "/api/2.0/mlflow/experiments/create", query, **kind)[1])
    made = json.loads(ui.as_owner("POST", "/api/2.0/mlflow/runs/create", made, **kind)[1])
    run = made["run"]["info"]["run_id"]
    (folder / run).mkdir(parents=True)
    (folder / run / "artifacts").symlink_to(ui.home.parent)
    for method, path in (
        ("GET", f"/get-artifact?run_uuid={run}&path=key"),
        ("GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run}"),
        ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=key"),
    ):
        status, content = ui.as_owner(method, path, "changed" if method == "POST" else None)
        assert (status, b"a symbolic link leads out" in content) == (400, True), content
    assert secret.read_text() == "secret"


def test_no_code_of_the_current_folder_or_the_home_has_run(ui):
    assert not (ui.home.parent / "ran").exists()


def test_it_ends_with_ctrl_c_and_has_written_the_token_once(ui):
    ui.process.send_signal(signal.SIGINT)
    assert ui.process.wait(60) == 0
    output = ui.output.read_text()
    assert output.count(ui.token) == 1
    assert "Traceback" not in output
    assert [path for path in ui.home.rglob("*") if path.is_file() and ui.token.encode() in path.read_bytes()] == []
