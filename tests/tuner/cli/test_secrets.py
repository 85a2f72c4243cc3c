"""Secrets in the environment, in arguments and in URLs: in no file and on no line that a command writes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.tuner.conftest import SPACE
from tuner.results.bundles.export import export_run
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import read_snapshot

MARKED = {
    "MLFLOW_TRACKING_URI": "http://me:marked-1@127.0.0.1:9/?token=marked-2",
    "PGPASSWORD": "marked-3",
    "AWS_SECRET_ACCESS_KEY": "marked-4/+",
    "MLFLOW_TRACKING_PASSWORD": "marked-5",
}
URL = "https://me:marked-6@host/a?X-Amz-Signature=marked-7&sig=marked-8"


@pytest.fixture(autouse=True)
def marked(monkeypatch):
    for name, value in MARKED.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["sync", "real"],
        ["ui"],
        ["status", "real", URL],
        ["status", URL],
        ["status", "--home", URL],
        ["status", "--home", URL.replace("https", "s3")],
        ["status", "--home", "file:/" + URL],
        ["launch", URL],
        ["launch", "tiny.yaml", "--study-storage", "postgresql://me:marked-9@127.0.0.1:9/x?sslpassword=marked-9"],
        ["launch", "tiny.yaml", "--study-storage", "postgresql://me@marked-3:9/x"],
        ["launch", "tiny.yaml", "--trials", URL],
        ["status", "real", "--cluster", URL],
        ["evaluate", URL],
        ["export", "real", "--output", "missing/marked-3\0"],
        ["train", URL, "--set", "password=marked-9"],
        ["spaces", "check", URL],
        ["logs", "real", URL],
    ],
)
def test_no_message_repeats_one(run, trained_sweep, tmp_path, arguments):
    trained_sweep.folder.rename((tmp_path / "sweeps").mkdir() or tmp_path / "sweeps" / "real")
    (tmp_path / "tiny.yaml").write_text(SPACE)
    code, output = run(*arguments)
    assert code in (1, 2), output
    assert "marked" not in output


def test_no_traceback_repeats_one(tmp_path):
    """Of an error that nobody has foreseen, in a process of its own, as Python prints it."""
    script = """
import sys, typer
from tuner.cli.exits import run_command
def fail():
    print("trying", sys.argv[1])
    raise LookupError(sys.argv[1] + " marked-3 ") from ValueError("password=marked-4/+")
run_command(fail)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, URL], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "marked" not in done.stdout + done.stderr
    assert done.stdout == "trying https://***@host/a?X-Amz-Signature=***&sig=***\n"
    assert "Traceback (most recent call last):\n" in done.stderr
    assert done.stderr.endswith("LookupError: https://***@host/a?X-Amz-Signature=***&sig=*** *** \n")


def test_no_file_holds_one(monkeypatch, trained_sweep, tmp_path):
    """A user's script, with secrets among its arguments; the sweep of an earlier release, which wrote them."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--password", "marked-9", "--api-key=marked-9", URL, "--trials", "3"])
    made = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path)
    command = json.loads((made.folder / "provenance.json").read_bytes())["command"]
    masked = ["train.py", "--password", "***", "--api-key=***", "https://***@host/a?X-Amz-Signature=***&sig=***"]
    assert command == [*masked, "--trials", "3"]
    path = trained_sweep.folder / "provenance.json"
    earlier = {name: value for name, value in json.loads(path.read_bytes()).items() if name != "sha256"}
    path.write_text(json.dumps({**earlier, "command": sys.argv}))
    bundle = export_run(read_snapshot(trained_sweep), tmp_path / "bundle", "0")
    assert json.loads((bundle / "provenance.json").read_bytes())["command"] == command
    written = [file for folder in (made.folder, bundle) for file in folder.rglob("*") if file.is_file()]
    assert [file for file in written if b"marked" in file.read_bytes()] == []
