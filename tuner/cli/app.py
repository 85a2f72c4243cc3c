"""The command line. Each command imports what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import typer
from rich.console import Console

from tuner.cli import confirm, evaluate, launch, monitor, spaces, ui
from tuner.cli.cluster import job, nodes
from tuner.cli.cluster.remote import ClusterCommand
from tuner.cli.exits import run_command
from tuner.cli.options import Home, SweepName
from tuner.cli.results import checks, compare, files, runs
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home

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


for _command in (
    launch.launch,
    launch.resume,
    launch.copy,
    monitor.status,
    monitor.watch,
    monitor.pause,
    monitor.stop,
    monitor.logs,
    runs.trials,
    checks.replay,
    compare.compare,
    files.draw,
    files.export,
    checks.verify,
    confirm.confirm,
    evaluate.evaluate,
):
    app.command(cls=ClusterCommand)(_command)
_FORWARDING = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
for _hidden in (evaluate.judge, job.job):
    app.command(hidden=True, add_help_option=False, context_settings=_FORWARDING)(_hidden)
app.command()(launch.train)
app.command()(spaces.data)
app.command()(ui.ui)
app.add_typer(spaces.app, name="spaces")
app.add_typer(nodes.app, name="cluster")


def main() -> None:
    """Run the command line; an error that is raised on purpose ends it with its message and exit code."""
    run_command(app)
