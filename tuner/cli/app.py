"""The command line. A command is made, and what it needs is imported, when it is typed: ``--help`` answers at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, cast

import typer
import typer.main

from trainables.common.process_state import open_missing_streams
from tuner.cli.exits import run_command
from tuner.cli.shell.help import HELP_OPTIONS, page, print_version, short_help
from tuner.cli.shell.usage import QuickCommand, ReadableGroup

# Where each command is, as module:function below `tuner.cli`, in the order of the help page.
ON_CLUSTERS = {
    "launch": "launch:launch",
    "resume": "launch:resume",
    "status": "monitor:status",
    "watch": "monitor:watch",
    "pause": "monitor:pause",
    "stop": "monitor:stop",
    "logs": "monitor:logs",
    "compare": "results.compare:compare",
    "trials": "results.runs:trials",
    "show": "results.runs:show",
    "draw": "results.files:draw",
    "export": "results.files:export",
    "report": "results.files:report",
    "confirm": "confirm:confirm",
    "evaluate": "evaluate:evaluate",
    "replay": "results.checks:replay",
    "verify": "results.checks:verify",
    "copy": "launch:copy",
    "delete": "launch:delete",
    "sync": "ui:sync",
}
"""These take ``--cluster``."""
_HERE = {
    "train": "launch:train",
    "reproduce": "results.checks:reproduce",
    "data": "spaces:data",
    "trust": "results.trust:trust",
    "ui": "ui:ui",
    "dashboard": "ui:dashboard",
}
_GROUPS = {"spaces": "spaces:app", "cluster": "cluster.nodes:app"}
_HIDDEN = {"judge": "evaluate:judge", "job": "cluster.job:job", "node": "cluster.node:node"}
_FORWARDING = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


class Commands(Mapping[str, Any]):
    """The commands by their names, each made when it is asked for."""

    def __init__(self) -> None:
        self._where = {**ON_CLUSTERS, **_HERE, **_GROUPS, **_HIDDEN}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _make(name, self._where[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def _make(name: str, where: str) -> Any:
    module, _, attribute = where.partition(":")
    found = getattr(import_module(f"tuner.cli.{module}"), attribute)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    if name in _GROUPS:
        alone.add_typer(found, name=name, **page(name))
        return typer.main.get_group(alone).commands[name]
    if name in _HIDDEN:
        alone.command(name, hidden=True, add_help_option=False, context_settings=_FORWARDING)(found)
    elif name in ON_CLUSTERS:
        from tuner.cli.cluster.remote import ClusterCommand

        alone.command(name, cls=ClusterCommand, **page(name))(found)
    else:
        alone.command(name, cls=QuickCommand, **page(name))(found)
    return typer.main.get_command(alone)


class Program(ReadableGroup):
    """The command ``tuner``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = cast("Any", Commands())

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, none of which is made for that."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands, none of which is made for that, either."""
        shown = [name for name in self.list_commands(ctx) if name not in _HIDDEN]
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help(name)) for name in shown])


app = typer.Typer(
    cls=Program,
    help="Hyperparameter search for adversarially robust classifiers: Optuna thinks, Ray runs, MLflow shows.",
    epilog="`tuner launch quick` is a first search of a few minutes; `tuner COMMAND -h` shows examples.",
    no_args_is_help=True,
    context_settings=HELP_OPTIONS,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _tuner(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the release and end.")
    ] = False,
) -> None:
    """Declare the options that stand before a command."""


def main() -> None:
    """Run the command line; an error that is raised on purpose ends it with its message and exit code."""
    open_missing_streams()
    run_command(app)
