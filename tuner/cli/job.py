"""The hidden command ``job``: what a cluster's job runs, ``python3 -m tuner job COMMAND ...``.

It runs our command if both sides have the same releases. Its request comes with the job's description, which Ray passes
on as a variable of the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from tuner.cluster.payload import BEGIN, REQUEST, Answer, Marked, Request, check_releases, pack, releases
from tuner.errors import MISTAKE, UserError

_DESCRIPTION = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def run(request: Request, arguments: list[str]) -> int:
    """Run a command in a folder of its own, which holds the files that came along; return its exit code.

    Raises:
        UserError: a release differs, or nobody has said where the sweeps are.
        SystemExit: that of a command which is not captured.
    """
    check_releases(request.versions, releases())
    if not {"--home", "--storage"} & set(arguments) and not os.environ.get("TUNER_HOME"):
        raise UserError("where are the cluster's sweeps? say --storage FOLDER or URL, or set TUNER_HOME on its nodes")
    with tempfile.TemporaryDirectory(prefix="tuner-job-") as name:
        folder = Path(name).resolve()
        for file, text in request.files.items():
            (folder / Path(file).name).write_text(text)
        os.chdir(folder)
        if request.is_captured:
            return _captured(request, arguments, folder)
        from tuner.cli.app import main

        sys.argv = ["tuner", *arguments]
        with contextlib.redirect_stderr(Marked(sys.stderr)):
            main()
    return 0


def _captured(request: Request, arguments: list[str], folder: Path) -> int:
    done = subprocess.run([sys.executable, "-m", "tuner", *arguments], capture_output=True, check=False)
    output, errors = (
        text.decode(errors="replace").replace(str(folder), request.folder) for text in (done.stdout, done.stderr)
    )
    files = pack(folder, tuple(request.files)) if done.returncode == 0 else b""
    print(Answer(output, errors, files).encode(), end="", flush=True)
    return done.returncode


def job(ctx: typer.Context) -> None:
    """Run the job that this process is in: the command that follows, with its options."""
    print(BEGIN, flush=True)
    try:
        request = Request.decode(json.loads(os.environ[_DESCRIPTION])["metadata"][REQUEST])
        sys.exit(run(request, ctx.args))
    except UserError as error:
        print(f"error: {error}", file=Marked(sys.stderr))
        sys.exit(MISTAKE)
