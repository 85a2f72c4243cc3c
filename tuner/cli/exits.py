"""The end of a command that has driven a sweep: its message and its exit code, for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from tuner.errors import STOPPED, SweepError

if TYPE_CHECKING:
    from tuner.execution.driver import Ending


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
        console.print(text, style="yellow", soft_wrap=True)
    if ending.stopped:
        console.print(f"Stopped on request; {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(STOPPED)
    if ending.signal is not None:
        console.print(f"Interrupted; {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(128 + ending.signal)
    if ending.failure:
        raise SweepError(f"{ending.failure}; put that right, then {how_to_go_on}")
