"""The hidden command that a job on a cluster executes: ``python3 -P -m tuner job COMMAND ...``.

It runs COMMAND if both sides have the same releases. The request is in the metadata of the job, which Ray passes on as
an environment variable.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trainables.common.process_state import python_command, python_environment
from tuner.cli.exits import run_command
from tuner.cli.options import JOB_VARIABLE
from tuner.errors import MISTAKE, UserError

if TYPE_CHECKING:
    from tuner.cluster.payload import Request


def run(request: Request, arguments: list[str], tuner: Callable[..., object]) -> int:
    """Run a command in a temporary folder that holds the files of its request, and return its exit code.

    Files that were too large for the request are in `UPLOADED`, a folder of the current one.

    Args:
        request: what was sent with it.
        arguments: the command and what follows it.
        tuner: the whole command line: takes a command's arguments and runs it in this process.

    Raises:
        UserError: a release differs, or neither the command nor ``TUNER_HOME`` says where the sweeps are.
        SystemExit: always if the command is not captured; it holds the exit code.
    """
    from tuner.cluster.payload import UPLOADED, StderrMarker, check_releases, releases

    _provide_packages(request)
    check_releases(request.versions, releases(request.versions))
    if not {"--home", "--storage"} & set(arguments) and not os.environ.get("TUNER_HOME"):
        raise UserError("where are the cluster's sweeps? say --storage FOLDER or URL, or set TUNER_HOME on its nodes")
    with tempfile.TemporaryDirectory(prefix="tuner-job-") as name:
        folder = Path(name).resolve()
        for file, text in request.files.items():
            (folder / Path(file).name).write_text(text)
        if Path(UPLOADED).is_dir():
            shutil.copytree(UPLOADED, folder, dirs_exist_ok=True)
        os.chdir(folder)
        if request.is_captured:
            return _captured(request, arguments, folder)
        with contextlib.redirect_stderr(StderrMarker(sys.stderr)):
            run_command(functools.partial(tuner, arguments, prog_name="tuner"))
    return 0


def _provide_packages(request: Request) -> None:
    """Let this process use packages that were sent along and are not installed here."""
    from trainables.config.plugins.packages import is_installed
    from trainables.config.plugins.wheels import provide_wheel, wheel_name
    from tuner.cluster.payload import UPLOADED

    for package in (f"{name} {version}" for name, version in request.versions.items()):
        wheel = Path(UPLOADED) / wheel_name(package)
        if wheel.is_file() and not is_installed(package):
            provide_wheel(package, wheel.read_bytes())


def _captured(request: Request, arguments: list[str], folder: Path) -> int:
    from tuner.cluster.payload import CommandResult, pack

    completed = subprocess.run(
        python_command("tuner", *arguments), env=python_environment(), capture_output=True, check=False
    )
    streams = (completed.stdout, completed.stderr)
    output, errors = (text.decode(errors="replace").replace(str(folder), request.folder) for text in streams)
    files = pack(folder, tuple(request.files)) if completed.returncode == 0 else b""
    sys.stdout.flush()
    sys.stdout.buffer.write(CommandResult(output, errors, files).encode().encode())  # of which nothing is masked
    sys.stdout.buffer.flush()
    return completed.returncode


def job(ctx: typer.Context) -> None:
    """Run the command that follows, as the job that this process is."""
    from tuner.cluster.payload import BEGIN, REQUEST, Request, StderrMarker

    print(BEGIN, flush=True)
    try:
        request = Request.decode(json.loads(os.environ[JOB_VARIABLE])["metadata"][REQUEST])
        sys.exit(run(request, ctx.args, ctx.find_root().command))
    except UserError as error:
        print(f"error: {error}", file=StderrMarker(sys.stderr))
        sys.exit(MISTAKE)
