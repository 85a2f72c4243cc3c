"""The stack of compose.yaml, up and running as plain processes: a sweep goes through it, and nobody uninvited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker import stack
from tests.docker.manifests import DOCKER, ROOT

MISSING = stack.needs()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.database,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
JOBS, MLFLOW = "http://localhost:8265", "http://localhost:5000"


class Stack:
    """The stack, as seen from the machine outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.docker.stack", str(folder)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            self.down()
            pytest.fail("the stack did not come up; it says why above")
        pids = json.loads(line)
        self.services = {one.name: one for wave in stack.waves(folder) for one in wave}
        for name, pid in pids.items():
            self.services[name].pid = pid

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text()

    def outside(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine outside."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "TUNER_"))
        }
        environment |= {"PYTHONPATH": str(ROOT), **variables}
        inside = ["nsenter", "--target", str(self.process.pid), "--net", "--mount"]
        return subprocess.run([*inside, *command], env=environment, capture_output=True, text=True, check=False)

    def listening(self, name: str) -> list[str]:
        """Return where a service can be reached from others, as NAME:PORT."""
        heard = self.outside("ip", "netns", "exec", name, "ss", "--no-header", "--tcp", "--listening", "--numeric")
        addresses = {line.split()[3] for line in heard.stdout.splitlines()}
        ports = {address.rpartition(":")[2] for address in addresses if "127.0.0.1" not in address}
        assert ports, heard.stderr
        return [f"{name}:{port}" for port in sorted(ports)]

    def down(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    shutil.copy(DOCKER / "secrets.sh", folder)
    for _ in range(2):  # the second time changes nothing
        subprocess.run(["sh", folder / "secrets.sh"], check=True)
    there = Stack(folder)
    yield there
    there.down()


def test_a_sweep_that_is_submitted_appears_in_mlflow(running):
    token = {"RAY_AUTH_TOKEN": running.secret("ray_token")}
    study = "postgresql+psycopg://tuner@postgres/studies"
    tuner = [sys.executable, "-m", "tuner"]
    launch = [*tuner, "launch", "digits", "--name", "first", "--trials", "2", "--study-storage", study]
    launched = running.outside(*launch, "--cluster", JOBS, **token)
    assert launched.returncode == 0, launched.stdout + launched.stderr
    watched = running.outside(*tuner, "watch", "first", "--cluster", JOBS, **token)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    script = """
import json, mlflow
runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
print(json.dumps([[run.data.tags["tuner.run"], run.info.status, len(run.data.metrics)] for run in runs]))
"""
    credentials = {
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": running.secret("mlflow_admin_password"),
    }
    shown = running.outside(sys.executable, "-c", script, MLFLOW_TRACKING_URI=MLFLOW, **credentials)
    assert shown.returncode == 0, shown.stderr
    runs = {key: (status, count) for key, status, count in json.loads(shown.stdout)}
    assert {"trial-0000", "trial-0001"} < set(runs)
    assert {key for key, (status, _) in runs.items() if status != "FINISHED"} <= {"trial-0000", "trial-0001"}
    assert {key for key, (_, count) in runs.items() if count <= 3} <= {"sweep"}


@pytest.mark.parametrize("arguments", [(), ("--password", "guessed")], ids=["no password", "a wrong password"])
def test_every_door_is_closed(running, arguments):
    ports = [port for name in running.services if name.startswith("ray-") for port in running.listening(name)]
    asked = running.outside(sys.executable, "-m", "tests.docker.doors", *ports, *arguments)
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert {url: status for url, status in told["web"].items() if status not in (401, 403)} == {}
    assert all("authentication failed" in answer or "no password supplied" in answer for answer in told["database"])
    answers = set(told["ports"].values()) - {"nobody"}  # processes of the last job may just have ended
    assert answers == {"403" if arguments else "401", "UNAUTHENTICATED"}


def test_mlflow_does_not_answer_to_names_that_are_not_its_own(running):
    script = f"import requests; print(requests.get('{MLFLOW}/', headers={{'Host': 'evil.example'}}).status_code)"
    assert running.outside(sys.executable, "-c", script).stdout == "403\n"


def test_the_dashboard_is_to_look_at_only(running):
    script = """
import requests, sys
auth = ("first", sys.argv[1])
page = requests.get("http://localhost:8080/dashboard", auth=auth)
studies = requests.get("http://localhost:8080/api/studies", auth=auth).json()["study_summaries"]
gone = requests.delete("http://localhost:8080/api/studies/0", auth=auth)
unknown = requests.get("http://localhost:8080/dashboard", auth=("other", sys.argv[1]))
print(page.status_code, [study["study_name"] for study in studies], gone.status_code, unknown.status_code)
"""
    shown = running.outside(sys.executable, "-c", script, running.secret("dashboard_password"))
    assert shown.stdout.startswith("200 ["), shown.stderr
    assert "search" in shown.stdout
    assert shown.stdout.endswith("] 403 401\n")


def test_services_are_ordinary_users_who_can_write_only_where_they_must(running):
    for service in running.services.values():
        user = service.settings["user"].partition(":")[0]
        assert service.run("id", "-u").stdout.strip() == user
        assert service.run("sh", "-c", "touch /x /etc/x /usr/x /opt/tuner/x /opt/container/x").returncode != 0
        assert (
            service.run("sh", "-c", "grep -E '^Cap(Eff|Prm|Bnd)' /proc/self/status").stdout.split()[1::2]
            == ["0" * 16] * 3
        )


def test_nothing_is_run_that_was_written_there(running):
    for service in running.services.values():
        script = "echo '#!/bin/sh' > /tmp/x; chmod +x /tmp/x; /tmp/x"
        assert "Permission denied" in service.run("sh", "-c", script).stderr


def test_no_secret_is_written_down(running):
    """Neither in what services print, nor in Ray's logs, nor in the sweeps' folder, nor in MLflow's artifacts."""
    secrets = [running.secret(path.name) for path in sorted((running.folder / "secrets").iterdir())]
    patterns = "\n".join(secrets)
    places = [*running.folder.glob("*.log"), running.folder / "volumes/shared", running.folder / "volumes/mlflow"]
    found = subprocess.run(["grep", "-rlF", patterns, *places], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "")
    for name, service in running.services.items():
        if name.startswith("ray-"):
            found = service.run("sh", "-c", 'exec grep -rlF "$0" /tmp/tuner-"$(id -u)"', patterns)
            assert (found.returncode, found.stdout) == (1, "")
