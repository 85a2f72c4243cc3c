"""`tuner ui`: the sweeps of a home in a browser."""

from __future__ import annotations

import os
import secrets
import sys
from typing import Annotated

import typer
from rich.console import Console

from trainables.common.process_state import python_environment, unmasked_output
from tuner.cli.options import Home
from tuner.cluster import nodes
from tuner.errors import UserError
from tuner.sweep.homes import home

console = Console(markup=False, highlight=False, soft_wrap=True)


def ui(
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            show_default="5000",
            help="Its port; if 5000 is taken, the next free one.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Beyond this machine with passwords; MLFLOW_SERVER_ALLOWED_HOSTS: its names.")
    ] = "127.0.0.1",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Open to whoever reaches it, without a token or password.")
    ] = False,
    home_folder: Home = None,
) -> None:
    """Open the MLflow UI of the sweeps in this home until Ctrl-C; the link that is printed has a token for it."""
    from tuner.tracking import web
    from tuner.tracking.server import server_command, tracking_uri

    where = home(home_folder).root
    if not where.is_dir():
        raise UserError(f"there are no sweeps in {where}: `tuner launch quick` starts one; see --home")
    uri = tracking_uri(where)
    if not uri.startswith("sqlite:"):
        raise UserError(f"MLFLOW_TRACKING_URI is {uri}: that server has a UI of its own, open it in a browser")
    is_local = nodes.is_loopback(host)
    with web.listen(host, port) as listener:
        address = web.address(listener)
        number = listener.getsockname()[1]
        if port is None and number != web.DEFAULT_PORT:
            console.print(f"Port {web.DEFAULT_PORT} is taken; this one listens on {number}", style="yellow")
        if is_local:
            token = None if insecure else secrets.token_urlsafe(32)
            web.serve(where, listener, token, lambda: _print_link(address, token))
            return
    command = server_command(uri, host, number, asks_for_password=not insecure)
    console.print(f"MLflow on http://{host}:{number} (Ctrl-C ends it)")
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    sys.stdout.flush()
    os.chdir(where)  # MLflow puts its database of users right here
    os.execve(sys.executable, command, {**python_environment(), **settings})  # noqa: S606


def _print_link(address: str, token: str | None) -> None:
    """Print what to open in a browser, at once even into a pipe."""
    query = "" if token is None else f"/?token={token}"
    print(f"MLflow on {address}{query} (Ctrl-C ends it)", file=unmasked_output())
    if token is not None:
        console.print("The link is a password: whoever has it can read and delete the runs in MLflow.", style="dim")
    sys.stdout.flush()
