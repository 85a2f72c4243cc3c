"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search_spaces.limits import MAX_CONCURRENT
from trainables.attacks.radii import parse_radius
from tuner.cli.shell import completion

if TYPE_CHECKING:
    from trainables.storage.sweep_store import SweepStore
    from tuner.sweep.folder import SweepFolder

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Processes of a Ray job have it in their environment."""


def _name_home(ctx: typer.Context, home: str | None) -> str | None:
    """Let the commands that are recommended to a person have the home that was typed.

    In a job it is the cluster's, which knows it: whoever reads that elsewhere types ``--cluster`` instead.
    """
    if not ctx.resilient_parsing and JOB_VARIABLE not in os.environ:  # a completion must not wait for rich
        from tuner.results.terminal.output import name_home

        name_home(home)
    return home


def local_only(output: Path | None) -> Path | None:
    """Return where a command writes; the callback of every ``--output``.

    Raises:
        UserError: it is a URL.
    """
    if output is None:
        return None
    from tuner.sweep.homes import local_path

    return local_path(output)


SweepName = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", autocompletion=completion.sweeps, help="A sweep's name; `tuner status` lists them."
    ),
]
Home = Annotated[
    str | None,
    typer.Option(
        "--home",
        "--storage",
        metavar="FOLDER|URL",
        callback=_name_home,
        help="Where all sweeps are: a folder, or s3://, gs:// and the like; by default TUNER_HOME, else ./sweeps.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FOLDER", help="Folder with the dataset's files; by default they are fetched."),
]
StudyStorage = Annotated[
    str | None,
    typer.Option(
        "--study-storage",
        metavar="URL",
        help="PostgreSQL that holds the study, as postgresql+psycopg://USER@HOST/DATABASE; by default a file in the "
        "sweep's folder does. The password comes from PGPASSWORD or PGPASSFILE.",
    ),
]
MaxConcurrent = Annotated[
    int | None,
    typer.Option(
        "--max-concurrent",
        metavar="N",
        min=1,
        max=MAX_CONCURRENT,
        help="Runs executed at once; by default its share of the cluster.",
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus", metavar="N", min=0, max=MAX_CONCURRENT, help="Use at most so many GPUs, or none; by default all."
    ),
]
RunDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        autocompletion=completion.devices,
        help="auto: GPUs if there are any; cpu: none; cuda: it must be a GPU; cuda:1: that one of this machine.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        autocompletion=completion.devices,
        help="Where to compute: cpu, cuda or one like cuda:1; by default (auto) a GPU if there is one.",
    ),
]
AcceptCodeChange = Annotated[
    bool,
    typer.Option("--accept-code-change", help="Go on although the code that trains is not that of its earlier runs."),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", help="Return at once; a process of its own drives the sweep and outlives the terminal."),
]


def open_home(place: str | None) -> SweepStore:
    """Return the store of all sweeps: see `tuner.sweep.homes.home`."""
    from tuner.sweep.homes import home

    return home(place)


def open_sweep(name: str, place: str | None) -> SweepFolder:
    """Return the sweep of a name in a home: see `tuner.sweep.folder.SweepFolder.open`."""
    from tuner.sweep.folder import SweepFolder

    return SweepFolder.open(name, home=open_home(place))


def radius(text: str) -> float:
    """Return the number of an option that is a radius, such as ``0.3`` or ``8/255``.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        return parse_radius(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def per_channel(text: str) -> float:
    """Return the number of an option that has one for each channel of the images, which have one channel.

    Raises:
        typer.BadParameter: it is none, or there are several.
    """
    if "," in text.strip(" ,()[]"):
        raise typer.BadParameter(f"images have one channel, so one number is enough, not {text[:60]!r}")
    return radius(text.strip(" ,()[]"))


def is_local_path(source: str) -> bool:
    """Return whether the argument of ``tuner evaluate`` is a file or folder here; the folder of a sweep is none."""
    try:
        return Path(source).exists() and not (Path(source) / "sweep.json").is_file()
    except OSError:  # too long for a path, or in a folder that cannot be read
        return False
