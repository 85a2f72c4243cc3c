"""What a cluster's job runs, ``python3 -m tuner.job COMMAND ...``: our command, if both sides have the same releases.

Its request comes with the job's description, which Ray passes on as a variable of the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tuner.endings import MISTAKE
from tuner.errors import UserError
from tuner.parcel import BEGIN, Answer, Marked, Request, pack
from tuner.provenance import versions

REQUEST = "tuner.request"
_DESCRIPTION = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def releases() -> dict[str, str]:
    """Return what must be the same on both sides; of Python, major and minor release."""
    found = versions()
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, **{name: found.get(name, "none") for name in ("ray", "adversarial-tuner")}}


def check_releases(expected: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Refuse to work with another release than was expected.

    Raises:
        UserError: with every pair that differs.
    """
    pairs = [(name, there.get(name, "none"), wanted) for name, wanted in expected.items()]
    differing = [f"{name} {has} against {wanted} here" for name, has, wanted in pairs if has != wanted]
    if differing:
        raise UserError(
            f"the cluster has {', '.join(differing)}: install the same on both sides (its image, or this machine)"
        )


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
        from tuner.cli import main

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


def main() -> None:
    """Run the job that this process is in."""
    print(BEGIN, flush=True)
    try:
        request = Request.decode(json.loads(os.environ[_DESCRIPTION])["metadata"][REQUEST])
        sys.exit(run(request, sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=Marked(sys.stderr))
        sys.exit(MISTAKE)


if __name__ == "__main__":
    main()
