"""Commands that look into a sweep: its learning curves with another pruner, and whether its files are whole."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Home, SweepName, open_home, open_sweep
from tuner.cli.output import FormatOption, OutputOption, format_of, write_content, write_table
from tuner.errors import MISTAKE


def replay(
    sweep_name: SweepName,
    pruner: Annotated[
        str, typer.Option(metavar="PRUNER", help="As in a space: median, or '{successive_halving: {min_resource: 2}}'.")
    ],
    output_format: FormatOption = None,
    output: OutputOption = None,
    home_folder: Home = None,
) -> None:
    """Replay a sweep's learning curves with another pruner: what it would have saved, and what lost."""
    chosen = format_of(output_format, output)
    sweep = open_sweep(sweep_name, home_folder)
    from tuner.results.terminal.checks import replay_table
    from tuner.results.terminal.output import say_all
    from tuner.search.replay import read_pruner, replay_sentences, replay_trials
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=True)
    result = replay_trials(snapshot, read_pruner(pruner))
    if chosen == "json":
        write_content(result.to_json().encode() + b"\n", output)
    else:
        write_table(replay_table(result), chosen, output, Console(markup=False), "`--format csv`")
        if chosen == "table" and output is None:
            say_all(Console(markup=False), replay_sentences(result))
    exit_for_problems(snapshot.problems)


def verify(
    sweep_name: SweepName,
    output_format: FormatOption = None,
    output: OutputOption = None,
    home_folder: Home = None,
) -> None:
    """Check every file of a sweep: checksums, metrics against the study, checkpoints, results. Exit code 0 or 2."""
    from tuner.results.terminal.checks import verification_table
    from tuner.results.terminal.output import say_all
    from tuner.results.verify import verify_sweep

    chosen = format_of(output_format, output)

    verification = verify_sweep(sweep_name, open_home(home_folder))
    if chosen == "json":
        write_content(verification.to_json().encode() + b"\n", output)
    elif chosen == "table" and output is None:
        say_all(Console(markup=False), verification.lines)
    else:
        write_table(verification_table(verification), chosen, output, Console(markup=False))
    if verification.problems:
        raise typer.Exit(MISTAKE)
