"""The command line. Each command imports what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from tuner.cli import cluster, confirm, evaluate, job, launch, monitor, results, spaces
from tuner.cli.exits import run_command
from tuner.cli.options import Home, SweepName
from tuner.cli.remote import ClusterCommand
from tuner.cluster import nodes
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder, home

app = typer.Typer(
    help="Hyperparameter search for adversarially robust classifiers: Optuna thinks, Ray runs, MLflow shows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console(markup=False)  # paths and messages may hold brackets


@app.command(cls=ClusterCommand)
def sync(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Write to MLflow what it lacks of a sweep; run again, it changes nothing."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.tracking.sync import mirror_now

    with sweep.lock():
        mirror_now(sweep, console)
    console.print(f"MLflow has every run of {sweep.name}")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that it listens on.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Beyond this machine with passwords; MLFLOW_SERVER_ALLOWED_HOSTS: its names.")
    ] = "127.0.0.1",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Open to whoever reaches it, without a password.")
    ] = False,
    home_folder: Home = None,
) -> None:
    """Open the MLflow UI of the sweeps in this home, on loopback, until Ctrl-C."""
    from tuner.tracking.server import server_command, tracking_uri

    where = home(home_folder).root
    if not where.is_dir():
        raise UserError(f"there are no sweeps in {where}: `tuner launch quick` starts one; see --home")
    uri = tracking_uri(where)
    if not uri.startswith("sqlite:"):
        raise UserError(f"MLFLOW_TRACKING_URI is {uri}: that server has a UI of its own, open it in a browser")
    is_open = not nodes.is_loopback(host)
    command = server_command(uri, host, port, asks_for_password=is_open and not insecure)
    console.print(f"MLflow on http://{host}:{port} (Ctrl-C ends it)", highlight=False)
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    sys.stdout.flush()
    os.chdir(where)  # MLflow puts its database of users right here
    os.execve(sys.executable, command, environment)  # noqa: S606


for _command in (
    launch.launch,
    launch.resume,
    launch.copy,
    monitor.status,
    monitor.watch,
    monitor.pause,
    monitor.stop,
    monitor.logs,
    results.trials,
    results.replay,
    results.compare,
    results.draw,
    results.export,
    confirm.confirm,
    evaluate.evaluate,
):
    app.command(cls=ClusterCommand)(_command)
_FORWARDING = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
for _hidden in (evaluate.judge, job.job):
    app.command(hidden=True, add_help_option=False, context_settings=_FORWARDING)(_hidden)
app.command()(launch.train)
app.command()(spaces.data)
app.add_typer(spaces.app, name="spaces")
app.add_typer(cluster.app, name="cluster")


def main() -> None:
    """Run the command line; an error that is raised on purpose ends it with its message and exit code."""
    run_command(app)
