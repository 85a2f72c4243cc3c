"""How a command ends: its message and its exit code, for scripts."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from trainables.common.process_state import redacted_output
from trainables.common.redaction import redact
from tuner.errors import FAILED, MISTAKE, STOPPED, SweepError, TunerError
from tuner.results.terminal.output import name_home, say
from tuner.results.terminal.waiting import SilenceBreaker

if TYPE_CHECKING:
    from tuner.execution.driver import Ending

_OF_A_PATH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""Errors of the operating system that another path, or other permissions, put right."""
_MAX_SHOWN = 200


def exit_for(ending: Ending, name: str, console: Console, how_to_go_on: str) -> None:
    """Print how a drive has ended, and end the command with an exit code unless the drive has completed its work.

    Args:
        ending: of the drive.
        name: of the sweep.
        console: where it is printed.
        how_to_go_on: the command that continues the work, as part of a sentence.

    Raises:
        typer.Exit: the drive was stopped (3) or interrupted by a signal (128 and its number).
        SweepError: the sweep has failed (1).
    """
    if not ending.mirrored:
        text = f"MLflow is not up to date: `tuner sync {name}` brings it there"
        say(console, text, "yellow")
    if ending.stopped:
        say(console, f"Stopped on request; {how_to_go_on}")
        raise typer.Exit(STOPPED)
    if ending.signal is not None:
        say(console, f"Interrupted; {how_to_go_on}")
        raise typer.Exit(128 + ending.signal)
    if ending.failure:
        raise SweepError(f"{ending.failure}; put that right, then {how_to_go_on}")


def exit_for_problems(problems: Sequence[str]) -> None:
    """End a command that has printed a sweep with what is wrong with its files, if anything is.

    Args:
        problems: see `tuner.sweep.snapshot.Snapshot.problems`.

    Raises:
        typer.Exit: there are problems (2).
    """
    for problem in problems:
        _print_error(problem)
    if problems:
        raise typer.Exit(MISTAKE)


def run_command(command: Callable[[], object]) -> None:
    """Call a command; an error that is raised on purpose ends this process with its message and exit code.

    SIGTERM ends it as Ctrl-C does, so that what it has begun is tidied up. No secret is in what it prints, nor in the
    traceback of an error that was not raised on purpose.

    Raises:
        SystemExit: the command has ended or failed; it holds the exit code.
    """
    silence = SilenceBreaker(sys.stderr, is_alone=sys.stdout.isatty())
    with _exit_at_sigterm(), silence, redacted_output(silence.is_written):
        try:
            _run_to_exit(command)
        except Exception:
            sys.excepthook = _print_traceback  # once the streams are as they were
            raise
        finally:
            name_home(None)


@contextlib.contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """Let SIGTERM raise `SystemExit`, unless it is ignored or somebody handles it."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run_to_exit(command: Callable[[], object]) -> None:
    try:
        command()
    except OSError as error:  # `StorageError` among them
        from trainables.storage.atomic import is_storage_trouble

        if error.errno in _OF_A_PATH and error.filename is not None:
            path = str(error.filename)
            _print_error(f"{path if len(path) <= _MAX_SHOWN else f'{path[:_MAX_SHOWN]}...'}: {error.strerror}")
            sys.exit(MISTAKE)
        if not is_storage_trouble(error):
            raise
        _print_error(f"cannot be written: {error}; nothing that was reported is lost")
        sys.exit(FAILED)
    except TunerError as error:
        _print_error(str(error))
        sys.exit(error.exit_code)


def _print_traceback(*error: Any) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(*error))))


def _print_error(text: str) -> None:
    say(Console(stderr=True), f"error: {text}", "red")
