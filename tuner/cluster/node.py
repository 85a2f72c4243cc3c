"""The process of a node: ``ray start``, whose own lines are kept until the node is up, and then left out."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tuner.errors import INTERRUPTED

_ADDRESS = re.compile(r"^Local node IP: (\S+)", re.MULTILINE)
_STARTED = re.compile(r"^\s*Process exit logs will be saved to: (.+)\n", re.MULTILINE)  # Ray's last line
OnStart = Callable[[str, Path], None]
"""Is told the address of a node that is up, and the folder of its logs."""


class StartOutput(io.TextIOBase):
    """Stands for standard output while ``ray start`` runs: its text is kept, and shown only if it starts nothing.

    Args:
        on_start: called once, as soon as the node is up.
    """

    def __init__(self, on_start: OnStart) -> None:
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
            self.text += text
            if match := _STARTED.search(self.text):
                self.has_started = True
                address = _ADDRESS.search(self.text)
                self._on_start(address[1] if address else "HOST", Path(match[1]).parent)
        return len(text)


def run_node(arguments: Sequence[str], on_start: OnStart) -> None:
    """Run ``ray`` with arguments, which start a node and wait for its end.

    Ray's errors are on standard error; what it prints is left out, unless no node is started.

    Args:
        arguments: see `tuner.cluster.nodes`.
        on_start: called as soon as the node is up.

    Raises:
        SystemExit: always; its code is that of ``ray``, or `INTERRUPTED` after Ctrl-C.
    """
    from ray.scripts.scripts import cli

    shown = sys.stdout

    def show(address: str, logs: Path) -> None:
        with contextlib.redirect_stdout(shown):
            on_start(address, logs)

    output = StartOutput(show)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    try:
        with contextlib.redirect_stdout(output):
            cli.main(args=list(arguments), prog_name="ray")
    finally:
        if not output.has_started:
            shown.write(output.text)
