"""One root for every error that is raised on purpose, and what `tuner` exports without loading anything heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import tuner

ERRORS = [name for name in tuner.__all__ if name.endswith("Error")]
STOPPED_FROM_OUTSIDE = ("SweepError", "StorageError")


@pytest.mark.parametrize("name", ERRORS)
def test_every_public_error_has_the_root_and_the_exit_code_of_its_kind(name):
    error = getattr(tuner, name)
    assert issubclass(error, tuner.TunerError)
    if name != "TunerError":
        assert issubclass(error, tuner.SweepError) == (name in STOPPED_FROM_OUTSIDE)
        assert issubclass(error, tuner.UserError) == (name not in STOPPED_FROM_OUTSIDE)
        assert error.exit_code == (1 if name in STOPPED_FROM_OUTSIDE else 2)


def test_errors_are_what_callers_of_standard_errors_expect():
    assert issubclass(tuner.UserError, ValueError)
    assert issubclass(tuner.SweepError, RuntimeError)
    assert issubclass(tuner.StorageError, OSError)
    assert str(tuner.StorageError("s3://bucket: gone")) == "s3://bucket: gone"


@pytest.mark.parametrize("name", ERRORS)
def test_the_command_line_says_what_an_error_says_and_exits_with_its_code(run, monkeypatch, name):
    error = getattr(tuner, name)

    def fail(*arguments, **options):
        raise tuner.SpaceError("a.yaml", []) if name == "SpaceError" else error("what, where and what to do")

    monkeypatch.setattr(importlib.import_module("tuner.cli.app"), "app", fail)
    code, output = run("status")
    assert code == error.exit_code
    assert name == "SpaceError" or "what, where and what to do" in output
    assert "Traceback" not in output


def test_errors_are_imported_without_anything_heavy():
    check = (
        "import sys\n"
        f"from tuner import {', '.join(ERRORS)}\n"
        "heavy = {'torch', 'ray', 'optuna', 'mlflow', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
