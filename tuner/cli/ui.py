"""`tuner ui`, `tuner dashboard`: sweeps in a browser; `tuner sync`: what MLflow lacks of one."""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console

from trainables.common.process_state import python_environment, unmasked_output
from trainables.common.redaction import redact
from tuner.cli.options import Home, SweepName, open_home, open_sweep
from tuner.cli.shell import completion
from tuner.errors import UserError
from tuner.results.terminal.output import say
from tuner.results.terminal.waiting import leave_terminal_alone

if TYPE_CHECKING:
    from tuner.tracking.views import Table

console = Console(markup=False)


def ui(
    sweep_name: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            autocompletion=completion.sweeps,
            help="Whose table is opened; by default that of all sweeps.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            show_default="5000",
            help="Its port; if 5000 is taken, the next free one.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST", help="Beyond this machine with passwords; MLFLOW_SERVER_ALLOWED_HOSTS: its names."
        ),
    ] = "127.0.0.1",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Open to whoever reaches it, without a token or password.")
    ] = False,
    home_folder: Home = None,
) -> None:
    """Show the table of a sweep, or of all sweeps, in MLflow until Ctrl-C; the link that is printed has a token."""
    from tuner.cluster import nodes
    from tuner.tracking.server import quiet_mlflow, server_command, tracking_uri
    from tuner.tracking.web import listener as web
    from tuner.tracking.web import mlflow_pages as pages

    store = open_home(home_folder)
    where = store.root
    if not where.is_dir():
        raise UserError(f"there are no sweeps in {where}: `tuner launch quick` starts one; see --home")
    uri = tracking_uri(where)
    if uri.startswith(("http://", "https://")):
        with quiet_mlflow():
            table = pages.open_table(store, sweep_name)[1]
        _say(f"{_without_password(uri)}{table.page}", table)
        return
    if not uri.startswith("sqlite:"):
        raise UserError(f"MLFLOW_TRACKING_URI is {redact(uri)}: start `mlflow server` on it, and set it to its address")
    is_local = nodes.is_loopback(host)
    with web.listen(host, port, pages.DEFAULT_PORT) as listener:
        address = web.address(listener)
        number = listener.getsockname()[1]
        _print_other_port(port, pages.DEFAULT_PORT, number)
        if is_local:
            token = None if insecure else secrets.token_urlsafe(32)
            pages.serve(store, listener, token, sweep_name, lambda table: _print_link(address, token, table))
            return
    with quiet_mlflow():
        table = pages.open_table(store, sweep_name)[1]
    command = server_command(uri, host, number, asks_for_password=not insecure)
    _say(f"http://{host}:{number}{table.page} (Ctrl-C ends it)", table)
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    sys.stdout.flush()
    leave_terminal_alone()
    os.chdir(where)  # MLflow puts its database of users right here
    os.execve(sys.executable, command, {**python_environment(), **settings})  # noqa: S606


def sync(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Write to MLflow what it lacks of a sweep; run again, it changes nothing."""
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.tracking.sync import mirror_now

    with sweep.lock("sync"):
        mirror_now(sweep, console)
    say(console, f"MLflow has every run of {sweep.name}")


def dashboard(
    sweep_name: SweepName,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            show_default="8080",
            help="Its port; if 8080 is taken, the next free one.",
        ),
    ] = None,
    home_folder: Home = None,
) -> None:
    """Show a sweep's study in optuna-dashboard until Ctrl-C, to look at only; the link that is printed has a token.

    Also while the sweep runs. It needs `pip install 'adversarial-tuner[dashboard]'`.
    """
    from tuner.tracking.web import listener as web
    from tuner.tracking.web import study_pages as pages

    studies = pages.open_studies(open_sweep(sweep_name, home_folder))
    with web.listen("127.0.0.1", port, pages.DEFAULT_PORT) as listener:
        _print_other_port(port, pages.DEFAULT_PORT, listener.getsockname()[1])
        token = secrets.token_urlsafe(32)
        link = f"{web.address(listener)}{studies.path}?token={token}"
        print(f"{sweep_name} in Optuna's dashboard: {link} (Ctrl-C ends it)", file=unmasked_output())
        say(console, "The link is a password: whoever has it sees the study. Nobody can change it there.", "dim")
        sys.stdout.flush()
        pages.serve(studies, listener, token)


def _print_other_port(asked: int | None, usual: int, number: int) -> None:
    if asked is None and number != usual:
        say(console, f"Port {usual} is taken; this one listens on {number}", "yellow")


def _say(link: str, table: Table) -> None:
    """Print the link of a table in an MLflow that asks for a password, and what is missing."""
    _print_missing(table)
    say(console, f"{_subject(table)}: {link}")


def _without_password(uri: str) -> str:
    scheme, host, path, *_ = urlsplit(uri)
    return f"{scheme}://{host.rpartition('@')[2]}{path.rstrip('/')}"


def _subject(table: Table) -> str:
    return "All sweeps in MLflow" if table.sweep is None else f"{table.sweep} in MLflow"


def _print_missing(table: Table) -> None:
    if table.missing:
        say(console, redact(table.missing), "yellow")


def _print_link(address: str, token: str | None, table: Table) -> None:
    """Print what to open in a browser, at once even into a pipe."""
    from tuner.tracking.web.mlflow_pages import path_of

    _print_missing(table)
    query = "" if token is None else f"?token={token}"
    print(f"{_subject(table)}: {address}{path_of(table)}{query} (Ctrl-C ends it)", file=unmasked_output())
    if token is not None:
        say(console, "The link is a password: whoever has it can read and delete the runs in MLflow.", "dim")
    sys.stdout.flush()
