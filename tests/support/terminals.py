"""Commands in pseudo-terminals of a width, as a person sees them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[=>]")
_RUN = """
import os, sys
from tuner.cli.app import main
for side in {sides!r}:
    for standard in (0, 1, 2) if side else ():
        os.dup2(side, standard)
    if side:
        os.close(side)
    for arguments in {commands!r}:
        sys.argv = ["tuner", *arguments]
        try:
            main()
        except SystemExit:
            pass
        print({end!r}, flush=True)
"""
END = "=== end of a command ==="


def in_terminals(
    commands: Sequence[Sequence[str]], widths: Sequence[int], folder: Path, *, height: int = 40
) -> dict[int, list[str]]:
    """Run commands of `tuner`, one process for all of them, in terminals; return what each leaves on each screen.

    Args:
        commands: the arguments of each.
        widths: of the terminals, in columns.
        folder: where they run.
        height: of the terminals, in lines.
    """
    pairs = [pty.openpty() for _ in widths]
    for width, (_, side) in zip(widths, pairs, strict=True):
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    sides = [side for _, side in pairs]
    program = _RUN.format(sides=sides, commands=[list(each) for each in commands], end=END)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=folder, env=_environment(), pass_fds=sides)
    for side in sides:
        os.close(side)
    outputs = [plain(_read_all(main)) for main, _ in pairs]
    process.wait()
    return {
        width: [screen.strip("\n") for screen in output.split(END)[: len(commands)]]
        for width, output in zip(widths, outputs, strict=True)
    }


def in_pipe(commands: Sequence[Sequence[str]], folder: Path) -> list[str]:
    """Run commands of `tuner` one after the other in a pipe, and return what each has written."""
    command = [sys.executable, "-c", _RUN.format(sides=[0], commands=[list(each) for each in commands], end=END)]
    done = subprocess.run(
        command, cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return [text.strip("\n") for text in done.stdout.split(END)[: len(commands)]]


def plain(output: str) -> str:
    """Return what a terminal shows without colours and movements of the cursor; a line that was redrawn is its last."""
    lines = _ESCAPES.sub("", output).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1].rstrip() for line in lines)


def _environment() -> dict[str, str]:
    hidden = ("COLUMNS", "LINES", "NO_COLOR", "TUNER_HOME", "RAY_ADDRESS")
    root = str(Path(__file__).parents[2])
    return {**{name: value for name, value in os.environ.items() if name not in hidden}, "TERM": "xterm-256color"} | {
        "PYTHONPATH": root
    }


def _read_all(descriptor: int) -> str:
    """Return all that comes out of a terminal until nobody has it open any more."""
    content = b""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # Linux: the other side is closed
            piece = b""
        if not piece:
            os.close(descriptor)
            return content.decode()
        content += piece
