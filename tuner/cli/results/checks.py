"""Commands that look into a sweep: its learning curves with another pruner, and whether its files are whole."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tuner.cli.exits import exit_for_problems
from tuner.cli.monitor import console
from tuner.cli.options import Home, SweepName
from tuner.errors import MISTAKE
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home


def replay(
    sweep_name: SweepName,
    pruner: Annotated[str, typer.Option(help="As in a space: median, or '{successive_halving: {min_resource: 2}}'.")],
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print it.")] = "text",
    home_folder: Home = None,
) -> None:
    """Replay a sweep's learning curves with another pruner: what it would have saved, and what lost."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.search.replay import read_pruner, replay_sentences, replay_trials
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=True)
    result = replay_trials(snapshot, read_pruner(pruner))
    if output_format == "json":
        typer.echo(result.to_json())
    else:
        for line in replay_sentences(result):
            console.print(line, soft_wrap=True, highlight=False)
    exit_for_problems(snapshot.problems)


def verify(
    sweep_name: SweepName,
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print it.")] = "text",
    home_folder: Home = None,
) -> None:
    """Check every file of a sweep: checksums, metrics against the study, checkpoints, results. Exit code 0 or 2."""
    from tuner.results.verify import verify_sweep

    verification = verify_sweep(sweep_name, home(home_folder))
    if output_format == "json":
        typer.echo(verification.to_json())
    else:
        for line in verification.lines:
            console.print(line, soft_wrap=True, highlight=False)
    if verification.problems:
        raise typer.Exit(MISTAKE)
