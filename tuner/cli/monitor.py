"""Commands that watch and control sweeps from any process that reaches their folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console

from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Home, SweepName, open_home, open_sweep
from tuner.cli.output import (
    ColumnsOption,
    Format,
    FormatOption,
    OutputOption,
    SortOption,
    View,
    format_of,
    write_content,
    write_table,
)
from tuner.cli.shell import completion
from tuner.errors import FAILED, INTERRUPTED, STOPPED, UserError
from tuner.results.terminal.waiting import leave_terminal_alone

if TYPE_CHECKING:
    from trainables.storage.sweep_store import SweepStore
    from tuner.sweep.control import Request
    from tuner.sweep.folder import SweepFolder
    from tuner.sweep.runs import Record

console = Console(markup=False)
_AT_ONCE = 1 << 20  # bytes


def status(
    sweep_name: Annotated[
        str | None,
        typer.Argument(metavar="SWEEP", autocompletion=completion.sweeps, help="A name; by default all sweeps."),
    ] = None,
    sort: SortOption = None,
    columns: ColumnsOption = None,
    output_format: FormatOption = None,
    output: OutputOption = None,
    home_folder: Home = None,
) -> None:
    """Print how far sweeps have come; of a single one also its cost so far and the time left."""
    chosen, where, view = format_of(output_format, output), open_home(home_folder), View(columns, sort)
    if sweep_name is None:
        _print_summaries(where, view, chosen, output)
        return
    from tuner.results.terminal.output import say_all
    from tuner.results.terminal.overview import summaries_table
    from tuner.sweep.snapshot import read_snapshot
    from tuner.sweep.status import status_lines, status_of

    detail = status_of(read_snapshot(open_sweep(sweep_name, home_folder), with_rows=True))
    if chosen == "json":
        write_content(detail.to_json().encode() + b"\n", output)
    elif chosen == "table" and output is None and view == View():
        say_all(console, status_lines(detail))
    else:
        write_table(view.apply(summaries_table([detail], str(where))), chosen, output, console)
    exit_for_problems(detail.problems)


def _print_summaries(where: SweepStore, view: View, chosen: Format, output: Path | None) -> None:
    """Print all sweeps of a home; what is wrong with a sweep is in its row."""
    from tuner.results.terminal.output import say, say_all
    from tuner.results.terminal.overview import summaries_table, summary_notes
    from tuner.sweep.homes import names
    from tuner.sweep.status import SweepSummary, summarize_named

    found = names(where)
    summaries = [summarize_named(name, where) for name in found]
    if chosen == "json":
        write_content(SweepSummary.list_to_json(summaries).encode() + b"\n", output)
    elif chosen == "table" and output is None and not found:
        say(console, f"no sweeps in {where}: `tuner launch quick` starts one")
    else:
        write_table(view.apply(summaries_table(summaries, str(where))), chosen, output, console)
        if chosen == "table" and output is None:
            say_all(console, summary_notes(summaries))


def watch(
    sweep_name: Annotated[
        str | None,
        typer.Argument(metavar="SWEEP", autocompletion=completion.sweeps, help="By default the running one."),
    ] = None,
    home_folder: Home = None,
) -> None:
    """Show the live table of a sweep until its driver ends; the exit code is that of the driver."""
    where = open_home(home_folder)
    sweep = open_sweep(sweep_name or _only_running(where), home_folder)
    from tuner.results.terminal.live import watch_sweep
    from tuner.results.terminal.output import say, say_all
    from tuner.sweep.snapshot import read_snapshot
    from tuner.sweep.status import status_lines, status_of

    try:
        watch_sweep(sweep, console)
    except KeyboardInterrupt:
        say(console, f"\nThe sweep goes on; `tuner watch {sweep.name}` shows it again")
        raise typer.Exit(INTERRUPTED) from None
    snapshot = read_snapshot(sweep, with_rows=True)
    detail = status_of(snapshot)
    say_all(console, status_lines(detail))
    exit_for_problems(detail.problems)
    if detail.state == "failed":
        raise typer.Exit(FAILED)
    if detail.state != "completed":
        raise typer.Exit(STOPPED if snapshot.phase == "stopped" else INTERRUPTED)


def stop(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Ask a sweep's driver to end as soon as each run has reported; nothing is lost, and its exit code is 3.

    Runs that `tuner evaluate` or `tuner confirm` are evaluating are finished first.
    """
    _request(open_sweep(sweep_name, home_folder), "stop", "ends")


def pause(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Ask a sweep's driver to release its processors as soon as each run has reported, until `tuner resume`.

    Runs that `tuner evaluate` or `tuner confirm` are evaluating are finished first.
    """
    _request(open_sweep(sweep_name, home_folder), "pause", "pauses")


def logs(
    sweep_name: SweepName,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            autocompletion=completion.runs,
            help="A trial's number or a baseline; by default the driver.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what is added until the run or its driver ends.")
    ] = False,
    home_folder: Home = None,
) -> None:
    """Print the log of a run, or of the driver: attempts, reports, warnings, output, tracebacks."""
    sweep = open_sweep(sweep_name, home_folder)
    if run is None:
        _print_driver_log(sweep, follow)
        return
    from tuner.results.selection import choose_run
    from tuner.sweep.runs import State
    from tuner.sweep.snapshot import read_snapshot

    def read_run(key: str) -> Record:
        return choose_run(read_snapshot(sweep), key, get_args(State))

    record = read_run(run)

    def is_growing() -> bool:
        return follow and sweep.is_running() and read_run(record.run.key).state == "running"

    missing = f"{record.run.key} of {sweep.name!r} has written nothing yet"
    _print_growing(sweep, record.run.folder / "log.txt", is_growing, "" if follow else missing)


def _print_driver_log(sweep: SweepFolder, follow: bool) -> None:
    from tuner.execution.launch import LOG

    missing = (
        f"the driver of {sweep.name!r} has left no log: only one that was launched with --detach writes {LOG}; "
        f"`tuner logs {sweep.name} RUN` prints a run's"
    )
    _print_growing(sweep, sweep.folder / LOG, lambda: follow and sweep.is_running(), missing)


def _print_growing(sweep: SweepFolder, path: Path, is_growing: Callable[[], bool], missing: str) -> None:
    """Print a file and, as long as ``is_growing`` returns True, what is added to it; without one, raise ``missing``."""
    sweep.store.fetch(path)
    if not path.exists() and missing:
        raise UserError(missing)
    written = 0
    while True:
        is_last = not is_growing()
        if not is_last:
            leave_terminal_alone()
        sweep.store.fetch(path)
        if path.exists():
            written += _print_from(path, written)
        if is_last:
            return
        time.sleep(1.0)


def _print_from(path: Path, begin: int) -> int:
    """Print a file from a byte on; return how many bytes there were."""
    from trainables.storage.bounded import open_regular

    printed = 0
    try:
        with open_regular(path) as file:
            file.seek(begin)
            while lines := file.readlines(_AT_ONCE):
                content = b"".join(lines)
                typer.echo(content.decode(errors="replace"), nl=False)
                printed += len(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return printed


def _only_running(where: SweepStore) -> str:
    from tuner.sweep.folder import SweepFolder
    from tuner.sweep.homes import names

    running = [name for name in names(where) if SweepFolder.open(name, home=where).is_running()]
    if len(running) != 1:
        which = f"these run: {', '.join(running)}" if running else f"none runs in {where}"
        raise UserError(f"which sweep? {which}; `tuner status` lists all")
    return running[0]


def _request(sweep: SweepFolder, request: Request, effect: str) -> None:
    from tuner.results.terminal.output import say
    from tuner.sweep import control

    command = control.command_of_driver(sweep)
    moment = "each run that is being evaluated is done" if command == "evaluate" else "each run has reported"
    if command == "confirm":
        moment += " or has been evaluated"
    goes_on = "resume" if request == "pause" else command
    text = f"{sweep.name} {effect} once {moment}; `tuner {goes_on} {sweep.name}` goes on"
    if not control.ask_driver(sweep, request):
        text = f"{sweep.name}'s driver has not answered: it has just begun or is about to end; see `tuner status`"
    say(console, text)
