"""The hidden command that the process of a node executes: ``python3 -P -m tuner node start --block ...``.

It runs ``ray start``, and says in a few lines what the node is there for. Ray's own lines would tell about
``ray start``, ``ray job submit`` and ``ray stop`` instead; its errors are shown as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import typer
from rich.console import Console

from tuner.errors import INTERRUPTED
from tuner.results.terminal.output import say, say_all
from tuner.results.terminal.waiting import leave_terminal_alone


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
    from tuner.cluster.node import run_node

    console = Console(markup=False)

    def on_start(address: str, logs: Path) -> None:
        leave_terminal_alone()
        say_all(console, description(ctx.args, address, logs))

    try:
        run_node(ctx.args, on_start)
    except SystemExit as error:
        if error.code == INTERRUPTED:
            say(console, "\nThis node ends")
        raise
