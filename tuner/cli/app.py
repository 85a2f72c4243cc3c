"""The command line. Each command imports what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from trainables.common.process_state import open_missing_streams
from tuner.cli import confirm, evaluate, launch, monitor, spaces, ui
from tuner.cli.cluster import job, node, nodes
from tuner.cli.cluster.remote import ClusterCommand
from tuner.cli.exits import run_command
from tuner.cli.options import Home, SweepName, open_sweep
from tuner.cli.results import checks, compare, files, runs, trust
from tuner.cli.shell.help import HELP_OPTIONS, page, print_version
from tuner.cli.shell.usage import QuickCommand, ReadableGroup

app = typer.Typer(
    cls=ReadableGroup,
    help="Hyperparameter search for adversarially robust classifiers: Optuna thinks, Ray runs, MLflow shows.",
    epilog="`tuner launch quick` is a first search of a few minutes; `tuner COMMAND -h` shows examples.",
    no_args_is_help=True,
    context_settings=HELP_OPTIONS,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console(markup=False)  # paths and messages may hold brackets


@app.callback()
def _tuner(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the release and end.")
    ] = False,
) -> None:
    """Declare the options that stand before a command."""


def sync(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Write to MLflow what it lacks of a sweep; run again, it changes nothing."""
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.results.terminal.output import say
    from tuner.tracking.sync import mirror_now

    with sweep.lock():
        mirror_now(sweep, console)
    say(console, f"MLflow has every run of {sweep.name}")


for _command in (
    launch.launch,
    launch.resume,
    monitor.status,
    monitor.watch,
    monitor.pause,
    monitor.stop,
    monitor.logs,
    compare.compare,
    runs.trials,
    runs.show,
    files.draw,
    files.export,
    files.report,
    confirm.confirm,
    evaluate.evaluate,
    checks.replay,
    checks.verify,
    launch.copy,
    launch.delete,
    sync,
):
    app.command(cls=ClusterCommand, **page(_command.__name__))(_command)
_FORWARDING = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
for _hidden in (evaluate.judge, job.job, node.node):
    app.command(hidden=True, add_help_option=False, context_settings=_FORWARDING)(_hidden)
app.command(cls=QuickCommand, **page("train"))(launch.train)
app.command(cls=QuickCommand, **page("reproduce"))(checks.reproduce)
app.command(cls=QuickCommand, **page("data"))(spaces.data)
app.command(cls=QuickCommand, **page("trust"))(trust.trust)
app.command(cls=QuickCommand, **page("ui"))(ui.ui)
app.command(cls=QuickCommand, **page("dashboard"))(ui.dashboard)
app.add_typer(spaces.app, name="spaces", **page("spaces"))
app.add_typer(nodes.app, name="cluster", **page("cluster"))


def main() -> None:
    """Run the command line; an error that is raised on purpose ends it with its message and exit code."""
    open_missing_streams()
    run_command(app)
