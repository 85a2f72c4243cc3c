"""Commands that watch and control sweeps from any process that reaches their folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console

from trainables.storage.bounded import open_regular
from trainables.storage.sweep_store import SweepStore
from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Home, SweepName
from tuner.errors import FAILED, INTERRUPTED, STOPPED, UserError
from tuner.sweep import control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home, names
from tuner.sweep.runs import Record, State

console = Console(markup=False)
_AT_ONCE = 1 << 20  # bytes


def status(
    sweep_name: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="A name; by default all sweeps.")] = None,
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print it.")] = "text",
    home_folder: Home = None,
) -> None:
    """Print the progress of sweeps; of a single one also its cost so far and the time left."""
    from tuner.sweep.snapshot import read_snapshot
    from tuner.sweep.status import SweepSummary, status_lines, status_of, summarize_named, summary_line

    where = home(home_folder)
    found = [sweep_name] if sweep_name else names(where)
    if not found and output_format == "text":
        console.print(f"no sweeps in {where}: `tuner launch quick` starts one", soft_wrap=True)
    if sweep_name:
        detail = status_of(read_snapshot(SweepFolder.open(sweep_name, home=where), with_rows=True))
        text, lines, problems = detail.to_json(), status_lines(detail), list(detail.problems)
    else:
        summaries = [summarize_named(name, where) for name in found]
        text, lines = SweepSummary.list_to_json(summaries), [summary_line(summary) for summary in summaries]
        problems = []  # each is in the line of its sweep
    if output_format == "json":
        typer.echo(text)
    else:
        for line in lines:
            console.print(line, soft_wrap=True, highlight=False)
    exit_for_problems(problems)


def watch(
    sweep_name: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="By default the running one.")] = None,
    home_folder: Home = None,
) -> None:
    """Show the live table of a sweep until its driver ends; the exit code is that of the driver."""
    where = home(home_folder)
    sweep = SweepFolder.open(sweep_name or _only_running(where), home=where)
    from tuner.results.terminal.live import watch_sweep
    from tuner.sweep.snapshot import read_snapshot
    from tuner.sweep.status import status_lines, status_of

    try:
        watch_sweep(sweep, console)
    except KeyboardInterrupt:
        console.print(f"\nThe sweep goes on; `tuner watch {sweep.name}` shows it again", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    snapshot = read_snapshot(sweep, with_rows=True)
    detail = status_of(snapshot)
    for line in status_lines(detail):
        console.print(line, soft_wrap=True, highlight=False)
    exit_for_problems(detail.problems)
    if detail.state == "failed":
        raise typer.Exit(FAILED)
    if detail.state != "completed":
        raise typer.Exit(STOPPED if snapshot.phase == "stopped" else INTERRUPTED)


def stop(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Ask a sweep's driver to end as soon as each run has reported; nothing is lost, and its exit code is 3."""
    _request(SweepFolder.open(sweep_name, home=home(home_folder)), "stop", "ends")


def pause(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Ask a sweep's driver to release its processors as soon as each run has reported, until `tuner resume`."""
    _request(SweepFolder.open(sweep_name, home=home(home_folder)), "pause", "pauses")


def logs(
    sweep_name: SweepName,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A trial's number or a baseline; by default the driver.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what is added until the run or its driver ends.")
    ] = False,
    home_folder: Home = None,
) -> None:
    """Print the log of a run, or of the driver: attempts, reports, warnings, output, tracebacks."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    if run is None:
        _print_driver_log(sweep, follow)
        return
    from tuner.results.selection import choose_run
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
        sweep.store.fetch(path)
        if path.exists():
            written += _print_from(path, written)
        if is_last:
            return
        time.sleep(1.0)


def _print_from(path: Path, begin: int) -> int:
    """Print a file from a byte on; return how many bytes there were."""
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
    running = [name for name in names(where) if SweepFolder.open(name, home=where).is_running()]
    if len(running) != 1:
        which = f"these run: {', '.join(running)}" if running else f"none runs in {where}"
        raise UserError(f"which sweep? {which}; `tuner status` lists all")
    return running[0]


def _request(sweep: SweepFolder, request: control.Request, effect: str) -> None:
    text = f"{sweep.name} {effect} once each run has reported; `tuner resume {sweep.name}` goes on"
    if not control.ask_driver(sweep, request):
        text = f"{sweep.name}'s driver has not answered: it has just begun or is about to end; see `tuner status`"
    console.print(text, soft_wrap=True, highlight=False)
