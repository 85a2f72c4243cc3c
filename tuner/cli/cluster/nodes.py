"""The commands that start a cluster's nodes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search_spaces.limits import MAX_CONCURRENT
from tuner.cli.options import Home, local_only
from tuner.cli.shell import completion
from tuner.cli.shell.help import page
from tuner.cli.shell.usage import QuickCommand, QuickGroup
from tuner.errors import UserError
from tuner.results.terminal.output import say
from tuner.results.terminal.waiting import leave_terminal_alone, waiting

app = typer.Typer(
    cls=QuickGroup, help="Start the nodes of a Ray cluster, with a token always on.", no_args_is_help=True
)
Cpus = Annotated[
    int | None,
    typer.Option("--cpus", metavar="N", min=0, max=MAX_CONCURRENT, help="Processors to offer; by default all."),
]
Gpus = Annotated[
    int | None, typer.Option("--gpus", metavar="N", min=0, max=MAX_CONCURRENT, help="GPUs to offer; by default all.")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Without a token: whoever reaches it runs code on it.")]
_FURTHER = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(cls=QuickCommand, context_settings=_FURTHER, **page("cluster head"))
def head(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(metavar="HOST", help="Where its dashboard and Jobs API listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1024, max=65535, help="Where other nodes join.")] = 6379,
    dashboard_port: Annotated[
        int, typer.Option(metavar="PORT", min=1024, max=65535, help="Of the dashboard and Jobs API.")
    ] = 8265,
    cpus: Cpus = None,
    gpus: Gpus = None,
    insecure: Insecure = False,
) -> None:
    """Start a cluster's head here, until Ctrl-C; further options go to `ray start` as they are."""
    from tuner.cluster import auth, nodes

    command = nodes.head_command(host, port, dashboard_port, cpus=cpus, gpus=gpus, further=ctx.args)
    if not insecure and not os.environ.get("RAY_AUTH_TOKEN"):
        say(Console(markup=False), f"The cluster's token is in {auth.make_token()}: other nodes and clients need it")
    _become(command, insecure)


@app.command(cls=QuickCommand, context_settings=_FURTHER, **page("cluster join"))
def join(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The head's HOST:PORT.")],
    cpus: Cpus = None,
    gpus: Gpus = None,
    insecure: Insecure = False,
) -> None:
    """Let this machine join a cluster, until Ctrl-C; further options go to `ray start` as they are."""
    from tuner.cluster import auth, nodes

    command = nodes.join_command(address, cpus=cpus, gpus=gpus, further=ctx.args)
    if not insecure and auth.read_token() is None:
        raise UserError(
            f"this machine has no token: copy the head's file to {auth.token_path()} (mode 0600), or set RAY_AUTH_TOKEN"
        )
    nodes.environment(insecure=insecure)  # refuses before anything is waited for
    if why := nodes.why_no_answer(address):
        with waiting(Console(markup=False), f"Waiting for {address}, where nothing answers yet ({why})"):
            nodes.wait_for_head(address)
    _become(command, insecure)


@app.command(cls=QuickCommand, context_settings=_FURTHER, **page("cluster slurm"))
def slurm(
    ctx: typer.Context,
    space: Annotated[
        str, typer.Argument(metavar="SPACE", autocompletion=completion.spaces, help="A packaged space or a YAML file.")
    ],
    nodes: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="Machines.")] = 1,
    gpus: Annotated[
        int, typer.Option("--gpus-per-node", metavar="N", min=0, max=1000, help="GPUs of each machine.")
    ] = 0,
    cpus: Annotated[
        int, typer.Option("--cpus-per-node", metavar="N", min=1, max=10_000, help="Processors of each machine.")
    ] = 8,
    time: Annotated[
        str, typer.Option(metavar="TIME", help="Limit of one job, as SLURM writes it; the sweep goes on in the next.")
    ] = "12:00:00",
    lead: Annotated[
        int, typer.Option(metavar="SECONDS", min=30, max=65_535, help="How long before the limit the sweep is stopped.")
    ] = 300,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The sweep's name; by default the space's.")] = None,
    home_folder: Home = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", callback=local_only, help="File to write; else it is printed."),
    ] = None,
) -> None:
    """Write a job script for SLURM: head, workers and driver of a sweep, which goes on after the time limit.

    Further options, like --partition=long, go to sbatch as they are. --home is a folder that all nodes reach.
    """
    from search_spaces.library import text_of
    from trainables.storage.object_store import is_url
    from tuner.cli.output import write_content
    from tuner.cluster.slurm import SlurmJob, job_script
    from tuner.search.sampling.checked import parse_checked_space
    from tuner.sweep.homes import check_name, home

    parsed = parse_checked_space(*text_of(space))
    check_name(name or parsed.name)
    place = home_folder or os.environ.get("TUNER_HOME", "")
    if is_url(place):
        raise UserError(f"--home must be a folder that all nodes reach, and {place} is a URL")
    job = SlurmJob(space, name or parsed.name, home(place).root, nodes, cpus, gpus, time, lead, ctx.args)
    write_content(job_script(job).encode(), output)


def _become(command: list[str], insecure: bool) -> None:
    from tuner.cluster import nodes

    environment = nodes.environment(insecure=insecure)
    sys.stdout.flush()
    leave_terminal_alone()
    os.execve(command[0], command, environment)  # noqa: S606
