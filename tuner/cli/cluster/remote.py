"""``--cluster``: a command line as it is typed, run by a Ray cluster instead of here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tuner.cli.options import is_local_path
from tuner.cli.shell.usage import QuickCommand
from tuner.errors import UserError

if TYPE_CHECKING:
    from search_spaces.schema import Space
    from tuner.cluster.command import RemoteCommand

_ARGV, _INSECURE = "tuner.argv", "tuner.insecure"
# Parameters of commands that concern this machine alone, and those that name a file or folder which is made here.
_LOCAL_ONLY = ("detach", "cluster", "insecure")
_OUTPUTS = ("output", "picture")


def _cluster_options(
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on the Ray cluster with this Jobs API; by default RAY_ADDRESS's."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Accept a Ray without a token: whoever reaches it runs code on it."),
    ] = False,
) -> None:
    """Declare the options that every `ClusterCommand` has beside its own."""


_declaring = typer.Typer(add_completion=False)
_declaring.command()(_cluster_options)


class ClusterCommand(QuickCommand):
    """A command with ``--cluster`` and ``--insecure``: with an address it runs on that cluster, else in this process.

    Without ``--cluster``, an http address in ``RAY_ADDRESS`` is that of the cluster, unless the command is about a file
    or folder of this machine.
    """

    def __init__(self, *arguments: Any, params: list[Any], **options: Any) -> None:
        super().__init__(*arguments, params=[*params, *typer.main.get_command(_declaring).params], **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line and keep it as it is for `invoke`."""
        ctx.meta[_ARGV] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command here or on a cluster; the exit code is that of the command."""
        cluster, insecure = ctx.params.pop("cluster"), ctx.params.pop("insecure")
        address = cluster or _default_address(ctx.params)
        if address is None:
            ctx.meta[_INSECURE] = insecure
            return super().invoke(ctx)
        from tuner.cluster.client import Cluster, check_address
        from tuner.cluster.command import environment
        from tuner.cluster.submission import send
        from tuner.results.terminal.output import say

        check_address(address)
        environment()  # refuses a password before the cluster is asked
        command = remote_command(ctx)
        console = Console(markup=False)
        raise typer.Exit(send(Cluster(address, insecure=insecure), command, lambda text: say(console, text)))


def accept_ray(ctx: typer.Context) -> bool:
    """Return whether ``--insecure`` was typed after a command that is run here.

    Raises:
        UserError: it was not, and a Ray that this process starts would require no token.
    """
    from tuner.cluster.local_ray import check_authentication

    insecure = bool(ctx.meta.get(_INSECURE))
    check_authentication(insecure=insecure)
    return insecure


def _default_address(parameters: dict[str, Any]) -> str | None:
    if "source" in parameters and is_local_path(parameters["source"]):
        return None
    address = os.environ.get("RAY_ADDRESS", "")
    return address if address.startswith(("http://", "https://")) else None


def remote_command(ctx: typer.Context) -> RemoteCommand:
    """Return what a cluster is to run for a command line that has been parsed here.

    The options that concern this machine alone are left out, and outputs are replaced by their names. A launch takes
    the text of its space along, with the files of code and of weights, and the packages, that it names.

    Raises:
        UserError: a path is none of the cluster's, a name is not allowed, or a password is among the arguments.
        SpaceError: the space of a launch has mistakes.
    """
    from tuner.cluster.command import RemoteCommand
    from tuner.sweep.homes import check_name

    parameters = ctx.params
    storage = parameters.get("home_folder")
    for option, path in (("--storage", storage), ("--data", parameters.get("data"))):
        if path and "://" not in str(path) and not Path(path).is_absolute():
            raise UserError(f"{option} must be an absolute path on the cluster, or a URL, not {str(path)!r}")
    options, arguments = split_argv(ctx)
    sweep = parameters.get("sweep_name") or parameters.get("source") or parameters.get("name")
    files: dict[str, str] = {}
    uploads: dict[str, bytes] = {}
    packages: dict[str, str] = {}
    if ctx.command.name == "launch":
        from tuner.execution.upkeep.own_code import code_to_send

        text, source, space = _space(parameters["space"], parameters.get("assign") or ())
        options = [option for option in options if option[0] != "assign"]  # they are in the text
        code = code_to_send(space, source, is_trusted=bool(parameters.get("trust")))
        uploads, packages = code.uploads, code.packages
        file = Path(source).name
        sweep, arguments, files = sweep or space.name, [file], {file: text, **code.files}
        options = [("name", ["--name", sweep]), *(option for option in options if option[0] != "name")]
    if sweep:
        check_name(sweep)
    return RemoteCommand(
        command=str(ctx.command.name),
        argv=_joined(ctx, options, arguments),
        sweep=sweep,
        storage=str(storage) if storage else None,
        files=files,
        uploads=uploads,
        packages=packages,
        output=next((parameters[name] for name in _OUTPUTS if parameters.get(name)), None),
        run=parameters.get("run"),
        follow=ctx.command.name == "watch" or bool(parameters.get("follow")),
    )


def _space(name_or_path: str, assignments: Sequence[str]) -> tuple[str, str, Space]:
    """Return the text of a space without mistakes, with values and bundles put in, its file, and the space."""
    from search_spaces import library
    from search_spaces.configurations import assigned_space, parse_space, with_bundles

    text, source = library.text_of(name_or_path)
    text = assigned_space(text, source, assignments)
    space = parse_space(text, source)
    return with_bundles(space, text, source), source, space


def split_argv(ctx: typer.Context) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Return the options that were typed after a command, each as its parameter's name and its words, and the rest."""
    parameters = {word: each for each in ctx.command.params for word in each.opts if word.startswith("-")}
    options: list[tuple[str, list[str]]] = []
    arguments: list[str] = []
    words = iter(ctx.meta[_ARGV])
    for word in words:
        option, equals, value = word.partition("=")
        if word == "--":
            arguments += words
        elif (parameter := parameters.get(option)) is None:
            arguments.append(word)
        else:
            takes_value = not getattr(parameter, "is_flag", False)
            typed = [parameter.opts[0], *([value if equals else next(words)] if takes_value else [])]
            options.append((str(parameter.name), typed))
    return options, arguments


def _joined(ctx: typer.Context, options: Sequence[tuple[str, list[str]]], arguments: Sequence[str]) -> list[str]:
    """Return a command line whose options are in the order of their declaration: equal requests have equal digests."""
    declared = [parameter.name for parameter in ctx.command.params]
    argv: list[str] = []
    for name, words in sorted(options, key=lambda option: declared.index(option[0])):
        if name in _OUTPUTS:
            argv += [words[0], Path(words[1]).name]
        elif name not in _LOCAL_ONLY:
            argv += words
    return [*argv, *(["--"] if any(word.startswith("-") for word in arguments) else []), *arguments]
