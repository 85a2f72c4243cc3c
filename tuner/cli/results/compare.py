"""The command that compares the runs of a sweep, or of several, and what others print of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from trainables.storage.atomic import reason_of
from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Home, SweepName, local_only, open_sweep
from tuner.cli.output import (
    ColumnsOption,
    FormatOption,
    OutputOption,
    SortOption,
    TopOption,
    View,
    format_of,
    json_rows,
    write_json,
    write_table,
)
from tuner.cli.shell import completion
from tuner.errors import UserError

if TYPE_CHECKING:
    from tuner.sweep.confirmation import Confirmation
    from tuner.sweep.snapshot import Snapshot


def print_comparison(snapshot: Snapshot, console: Console, view: View | None = None) -> None:
    """Print the table of a sweep, what follows from it, and the result of confirming it."""
    from tuner.results.compare import comparison_sentences
    from tuner.results.seeds import has_several_seeds
    from tuner.results.terminal.comparison import comparison_table, seeds_table
    from tuner.results.terminal.output import print_table, say, say_all
    from tuner.sweep.status import describe_runs, summarize

    write_table((view or View()).apply(comparison_table(snapshot)), "table", None, console)
    if has_several_seeds(snapshot):
        print_table(seeds_table(snapshot), console)
    say(console, f"{describe_runs(summarize(snapshot))}.")
    say_all(console, comparison_sentences(snapshot))
    print_confirmed(snapshot, console)


def comparison_document(snapshot: Snapshot, view: View) -> dict[str, object]:
    """Return what `print_comparison` says as a JSON document: rows, sentences, and the result of confirming."""
    from tuner.results.compare import comparison_sentences
    from tuner.results.seeds import has_several_seeds
    from tuner.results.terminal.comparison import comparison_table, seeds_table
    from tuner.sweep.status import describe_runs, summarize

    return {
        "sweeps": [snapshot.name],
        "runs": json_rows(view.apply(comparison_table(snapshot))),
        "configurations": json_rows(seeds_table(snapshot)) if has_several_seeds(snapshot) else None,
        "sentences": [f"{describe_runs(summarize(snapshot))}.", *comparison_sentences(snapshot)],
        "confirmation": confirmation_document(snapshot),
    }


def confirmation_document(snapshot: Snapshot) -> dict[str, object] | None:
    """Return what `print_confirmed` says as a JSON document: that of ``confirm.json``, and the sentences."""
    confirmation = snapshot.confirmation
    if confirmation is None:
        return None
    content: dict[str, object] = json.loads(confirmation.to_json())
    return {**content, "sentences": _confirmed_sentences(snapshot, confirmation)}


def print_confirmed(snapshot: Snapshot, console: Console) -> None:
    """Print the result of confirming a sweep; nothing if it has not been confirmed."""
    from tuner.results.terminal.confirmation import configurations_table, differences_table
    from tuner.results.terminal.output import print_table, say_all

    confirmation = snapshot.confirmation
    if confirmation is None:
        return
    hint = f"`tuner confirm {snapshot.name} --format json`"
    print_table(configurations_table(confirmation), console, hint)
    if confirmation.differences:
        print_table(differences_table(confirmation), console, hint)
    say_all(console, _confirmed_sentences(snapshot, confirmation))


def _confirmed_sentences(snapshot: Snapshot, confirmation: Confirmation) -> list[str]:
    from tuner.results.terminal.confirmation import confirmation_sentences
    from tuner.search.confirmation import newer_leaders

    names = [configuration.name for configuration in confirmation.configurations]
    newer = newer_leaders(snapshot.space, snapshot.records, names)
    said = f"The search has found better since: {', '.join(newer[: confirmation.top])}"
    since = [f"{said}; `tuner confirm {snapshot.name}` takes it in."] if newer else []
    return [*confirmation_sentences(confirmation), *since]


def compare(
    sweep_name: SweepName,
    others: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SWEEP",
            autocompletion=completion.sweeps,
            help="Further sweeps, on the same images and with the same epsilon.",
        ),
    ] = None,
    top: TopOption = None,
    sort: SortOption = None,
    columns: ColumnsOption = None,
    output_format: FormatOption = None,
    output: OutputOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", callback=local_only, help="Also draw accuracy by compute into this PNG."),
    ] = None,
    home_folder: Home = None,
) -> None:
    """Compare a sweep's trials with its baselines, or several sweeps with each other."""
    chosen = format_of(output_format, output)
    if picture is not None and others:
        raise UserError("--picture draws one sweep: name one")
    sweeps = [open_sweep(name, home_folder) for name in dict.fromkeys((sweep_name, *(others or ())))]
    from tuner.sweep.snapshot import read_snapshot

    view, console = View(columns, sort, top), Console(markup=False)
    snapshots = [read_snapshot(sweep, with_rows=picture is not None) for sweep in sweeps]
    if len(snapshots) > 1:
        from tuner.results.several import check_comparable, several_sentences
        from tuner.results.terminal.comparison import several_table
        from tuner.results.terminal.output import say_all

        check_comparable(snapshots)
        table, sentences = view.apply(several_table(snapshots)), several_sentences(snapshots)
        if chosen == "json":
            names = [snapshot.name for snapshot in snapshots]
            write_json({"sweeps": names, "runs": json_rows(table), "sentences": sentences}, output)
        else:
            write_table(table, chosen, output, console)
        if chosen == "table" and output is None:
            say_all(console, sentences)
    elif chosen == "table" and output is None:
        print_comparison(snapshots[0], console, view)
    elif chosen == "json":
        write_json(comparison_document(snapshots[0], view), output)
    else:
        from tuner.results.terminal.comparison import comparison_table

        write_table(view.apply(comparison_table(snapshots[0])), chosen, output, console)
    if picture is not None:
        _draw(snapshots[0], picture)
    exit_for_problems([problem for snapshot in snapshots for problem in snapshot.problems])


def _draw(snapshot: Snapshot, picture: Path) -> None:
    from tuner.results.pictures.draw import draw_comparison
    from tuner.results.terminal.waiting import waiting

    snapshot.require_whole()
    try:
        with waiting(Console(stderr=True, markup=False), "Drawing", in_logs=False):
            drawn = draw_comparison(snapshot, picture)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot draw {picture}: {reason_of(error)}") from error
    typer.echo(f"picture: {drawn}" if drawn else "nothing to draw yet: no run has reported", err=True)
