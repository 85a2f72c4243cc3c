"""How a command ends after a drive: what it says, and exit codes that a script can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from tuner.errors import STOPPED, SweepError

if TYPE_CHECKING:
    from tuner.execution.driver import Ending


def exit_for(ending: Ending, name: str, console: Console, how_to_go_on: str) -> None:
    """Say how a drive of the sweep of that name has ended, and end the command unless it came to its end.

    Raises:
        typer.Exit: it was stopped or interrupted.
        SweepError: the sweep has failed by itself.
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
