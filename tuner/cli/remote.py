"""``--cluster``: the same command, run by a Ray cluster."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from search_spaces import library
from tuner.errors import UserError

if TYPE_CHECKING:
    from tuner.cluster.command import Asked


_Address = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="ADDRESS", help="Run on the Ray cluster with this Jobs API; by default RAY_ADDRESS's."
    ),
]
_Open = Annotated[bool, typer.Option("--insecure", help="Take a cluster that asks for no token.")]
_ADDED = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, default, annotation in (
        ("ctx", inspect.Parameter.empty, typer.Context),
        ("cluster", None, _Address),
        ("insecure", False, _Open),
    )
)
# Of the files that a command makes, the last one is made here.
_OUTPUTS = ("output", "picture")
_HERE = ("detach", "cluster", "insecure")


def on_cluster(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command with ``--cluster`` and ``--insecure``: with an address it runs there, else right here."""

    @functools.wraps(function)
    def wrapper(ctx: typer.Context, cluster: str | None, insecure: bool, **parameters: Any) -> None:
        address = cluster or _address_of_environment()
        if address is None:
            function(**parameters)
            return
        from tuner.cluster.client import Cluster, check_address
        from tuner.cluster.command import environment
        from tuner.cluster.submission import send

        check_address(address)
        environment()
        asked = _launch(ctx) if ctx.command.name == "launch" else _asked(ctx, ctx.params)
        raise typer.Exit(send(Cluster(address, insecure=insecure), asked))

    hints = get_type_hints(function, include_extras=True)
    own = [one.replace(annotation=hints[one.name]) for one in inspect.signature(function).parameters.values()]
    wrapper.__signature__ = inspect.Signature([*own, *_ADDED], return_annotation=None)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in [*own, *_ADDED]}
    return wrapper


def _address_of_environment() -> str | None:
    address = os.environ.get("RAY_ADDRESS", "")
    return address if address.startswith(("http://", "https://")) else None


def _launch(ctx: typer.Context) -> Asked:
    """Return a launch with the text of its space; what is wrong with that is found before anything is sent."""
    from search_spaces.configurations import parse_space

    text, source = library.text_of(ctx.params["space"])
    name = parse_space(text, source).name
    file = Path(source).name
    return _asked(ctx, {**ctx.params, "space": file, "name": ctx.params["name"] or name}, {file: text})


def _asked(ctx: typer.Context, parameters: dict[str, Any], files: dict[str, str] | None = None) -> Asked:
    from tuner.cluster.command import Asked
    from tuner.sweep.folder import check_name

    storage = parameters.get("home_folder")
    for option, path in (("--storage", storage), ("--data", parameters.get("data"))):
        if path and "://" not in str(path) and not Path(path).is_absolute():
            raise UserError(f"{option} must be an absolute path on the cluster, or a URL, not {str(path)!r}")
    output = next((parameters[name] for name in _OUTPUTS if parameters.get(name)), None)
    there = {**parameters, **{name: parameters[name].name for name in _OUTPUTS if parameters.get(name)}}
    sweep = parameters.get("sweep_name") or parameters.get("name")
    if sweep:
        check_name(sweep)
    return Asked(
        command=str(ctx.command.name),
        words=_words(ctx, there),
        sweep=sweep,
        storage=str(storage) if storage else None,
        files=files or {},
        output=output,
        run=parameters.get("run"),
        streams=ctx.command.name == "watch" or bool(parameters.get("follow")),
    )


def _words(ctx: typer.Context, parameters: dict[str, Any]) -> list[str]:
    """Return what was typed after the command, options first, without what concerns this machine alone."""
    options: list[str] = []
    arguments: list[str] = []
    for parameter in ctx.command.params:
        value = parameters.get(str(parameter.name))
        if parameter.name in _HERE or value is None or value == parameter.default:
            continue
        if parameter.param_type_name == "argument":
            arguments.append(str(value))
        elif value is True:
            options.append(parameter.opts[0])
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                options += [parameter.opts[0], str(one)]
    return [*options, *(["--"] if any(word.startswith("-") for word in arguments) else []), *arguments]
