"""The hidden command that the process of a node executes: ``python3 -P -m tuner node start --block ...``.

It runs ``ray start``, and says in a few lines what the node is there for. Ray's own lines would tell about
``ray start``, ``ray job submit`` and ``ray stop`` instead; its errors are shown as they are.
"""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import typer
from rich.console import Console

from tuner.errors import INTERRUPTED
from tuner.results.terminal.output import say
from tuner.results.terminal.waiting import leave_terminal_alone

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ADDRESS = re.compile(r"^Local node IP: (\S+)", re.MULTILINE)
_STARTED = re.compile(r"^\s*Process exit logs will be saved to: (.+)\n", re.MULTILINE)  # Ray's last line


class StartOutput(io.TextIOBase):
    """Stands for standard output while ``ray start`` runs: its text is kept, and shown only if it starts nothing.

    Args:
        on_start: called once, as soon as the node is up, with the node's address and the folder of its logs.
    """

    def __init__(self, on_start: Callable[[str, Path], None]) -> None:
        super().__init__()
        self.text = ""
        self.has_started = False
        self._on_start = on_start

    def writable(self) -> bool:
        """Return True: text can be written."""
        return True

    def write(self, text: str) -> int:
        """Keep text, until the node is up; return the number of its characters."""
        if not self.has_started:
            self.text = _COLOURS.sub("", self.text + text)
            if match := _STARTED.search(self.text):
                self.has_started = True
                address = _ADDRESS.search(self.text)
                self._on_start(address[1] if address else "HOST", Path(match[1]).parent)
        return len(text)


def description(arguments: Sequence[str], address: str, logs: Path) -> list[str]:
    """Return what a node that is up says of itself, in lines.

    Args:
        arguments: of ``ray start``, see `tuner.cluster.nodes`.
        address: of the node.
        logs: the folder of its logs.
    """
    from tuner.cluster.nodes import is_any

    options = dict(pairwise(arguments))
    if "--head" not in arguments:
        return [f"This machine has joined {options['--address']}, until Ctrl-C; its logs are in", f"  {logs}"]
    host = options["--dashboard-host"]
    jobs = f"http://{address if is_any(host) else host}:{options['--dashboard-port']}"
    return [
        "The head of a cluster runs here, until Ctrl-C. Other machines join it by",
        f"  tuner cluster join {address}:{options['--port']}",
        "and sweeps are sent to it by",
        f"  tuner launch SPACE --cluster {jobs}",
        "Its logs are in",
        f"  {logs}",
    ]


def node(ctx: typer.Context) -> None:
    """Run `ray` with the arguments that follow, as the node that this process is."""
    from ray.scripts.scripts import cli

    console = Console(markup=False)

    def on_start(address: str, logs: Path) -> None:
        leave_terminal_alone()
        with contextlib.redirect_stdout(shown):
            for line in description(ctx.args, address, logs):
                say(console, line)

    shown, output = sys.stdout, StartOutput(on_start)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    try:
        with contextlib.redirect_stdout(output):
            cli.main(args=ctx.args, prog_name="ray")
    finally:
        if not output.has_started:
            shown.write(output.text)
        elif isinstance(error := sys.exception(), SystemExit) and error.code == INTERRUPTED:
            say(console, "\nThis node ends")
