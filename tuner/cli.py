"""The command line: what each command does is its docstring. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from search_spaces import library
from search_spaces.mistakes import SpaceError
from search_spaces.schema import Space
from trainables.data_files import DataError
from tuner import cli_confirm, cli_judging, cli_results, cli_spaces, cli_train
from tuner.errors import UserError
from tuner.options import Data, Home, SweepName
from tuner.sweep import Sweep, check_available, home, names

INTERRUPTED = 130
app = typer.Typer(
    help="Hyperparameter search for adversarially robust classifiers: Optuna thinks, Ray runs, MLflow shows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console(markup=False)  # paths and messages may hold brackets


@app.command()
def launch(
    space: Annotated[str, typer.Argument(help="A packaged space (`tuner spaces list`) or a YAML file.")],
    name: Annotated[str | None, typer.Option(help="What to call the sweep; by default the space's name.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials, instead of the space's number.")] = None,
    warm_start: Annotated[
        list[str] | None, typer.Option("--warm-start", metavar="SWEEP", help="Begin with what its trials tell.")
    ] = None,
    home_folder: Home = None,
    data: Data = None,
) -> None:
    """Start a sweep: search the space on Ray, with its baselines beside it."""
    from tuner import preflight
    from tuner.fields import parse_space

    text, source = library.text_of(space)
    parsed = parse_space(text, source)
    where = home(home_folder)
    preflight.check_resources(parsed.resources)
    sweep_name = name or _free_name(parsed.name, where)
    check_available(sweep_name, where)
    earlier = _earlier(parsed, warm_start, where) if warm_start else []
    preflight.ensure_data(parsed.dataset.name, data, console)
    sweep = Sweep.create(sweep_name, text, source, home=where, num_trials=trials, data=data, warm_start=earlier)
    console.print(f"Sweep {sweep.name} in {sweep.folder}", soft_wrap=True, highlight=False)
    _drive(sweep)


@app.command()
def resume(
    sweep_name: SweepName,
    trials: Annotated[int | None, typer.Option(min=1, help="Extend the sweep to this many trials.")] = None,
    home_folder: Home = None,
) -> None:
    """Go on with a sweep where it stands, whatever ended it; or extend it."""
    from tuner import preflight

    sweep = Sweep.open(sweep_name, home=home(home_folder))
    if trials is not None:
        if trials < sweep.num_trials:
            raise UserError(f"--trials must not be below the sweep's {sweep.num_trials}, got {trials}")
        with sweep.lock():
            sweep = sweep.extended(trials)
    preflight.check_resources(sweep.space.resources)
    preflight.ensure_data(sweep.space.dataset.name, Path(sweep.data) if sweep.data else None, console)
    _drive(sweep)


@app.command()
def status(
    sweep_name: Annotated[str | None, typer.Argument(help="One sweep; by default all of them.")] = None,
    home_folder: Home = None,
) -> None:
    """Say how far sweeps have come."""
    from collections import Counter

    from tuner.ledger import is_complete, read_records
    from tuner.records import best

    where = home(home_folder)
    found = [sweep_name] if sweep_name else names(where)
    if not found:
        console.print(f"no sweeps in {where}: `tuner launch quick` starts one", soft_wrap=True)
    for each in found:
        sweep = Sweep.open(each, home=where)
        records = read_records(sweep)
        states = Counter(record.state for record in records)
        winner = best(records, sweep.space.objective.mode)
        ended = sum(record.state != "running" and record.run.kind == "trial" for record in records)
        state = "completed" if is_complete(sweep, records) else "interrupted"
        if sweep.is_running():
            state = "running"
        words = {} if state == "running" else {"running": "unfinished"}
        counts = ", ".join(f"{count} {words.get(name, name)}" for name, count in states.items()) or "no runs yet"
        line = f"{each}: {state}, {ended} of {sweep.num_trials} trials ({counts})"
        if winner is not None:
            line += f", best {winner.run.key} {sweep.space.objective.metric} {100 * (winner.value or 0.0):.1f}"
        console.print(line, soft_wrap=True, highlight=False)


@app.command()
def sync(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Bring MLflow up to date with a sweep's folder; run again, it changes nothing."""
    sweep = Sweep.open(sweep_name, home=home(home_folder))
    from tuner.driver import mirror_now

    with sweep.lock():
        mirror_now(sweep, console)
    console.print(f"MLflow has every run of {sweep.name}")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="On this machine only.")] = 5000,
    home_folder: Home = None,
) -> None:
    """Open the MLflow UI of the sweeps in this home, on loopback, until Ctrl-C."""
    from tuner.tracking import tracking_uri

    where = home(home_folder)
    if not where.is_dir():
        raise UserError(f"there are no sweeps in {where}: `tuner launch quick` starts one; see --home")
    uri = tracking_uri(where)
    if not uri.startswith("sqlite:"):
        raise UserError(f"MLFLOW_TRACKING_URI is {uri}: that server has a UI of its own, open it in a browser")
    console.print(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)", highlight=False)
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    os.execve(sys.executable, [*command, "--port", str(port), "--workers", "1"], environment)  # noqa: S606


app.command()(cli_results.compare)
app.command()(cli_results.draw)
app.command()(cli_results.export)
app.command()(cli_train.train)
app.command()(cli_confirm.confirm)
app.command()(cli_judging.evaluate)
app.command()(cli_judging.judge)
app.command()(cli_spaces.data)
app.add_typer(cli_spaces.app, name="spaces")


def _earlier(space: Space, names: list[str], where: Path) -> list[dict[str, Any]]:
    """Return what earlier sweeps' trials tell of a space, and print what was left out."""
    from tuner.warm_start import gather

    observations, left_out = gather(space, [Sweep.open(name, home=where) for name in names])
    console.print(f"Warm start: {len(observations)} earlier trials fit this space", highlight=False)
    for words in left_out:
        console.print(f"  {words}", soft_wrap=True, highlight=False)
    return observations


def _free_name(base: str, where: Path) -> str:
    taken = set(names(where))
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


def _drive(sweep: Sweep) -> None:
    how_to_go_on = f"`tuner resume {sweep.name}` goes on where it stands"
    try:
        from tuner.driver import drive

        ending = drive(sweep, console)
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if not ending.mirrored:
        text = f"MLflow is not up to date: `tuner sync {sweep.name}` brings it there"
        console.print(text, style="yellow", soft_wrap=True)
    if ending.signal is not None:
        console.print(f"Interrupted; {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(128 + ending.signal)
    cli_results.print_comparison(sweep, console)
    console.print(
        f"`tuner export {sweep.name}` writes the best configuration; `tuner ui` shows every run", soft_wrap=True
    )


def main() -> None:
    """Run a command; a person's mistake ends with its message and exit code 2."""
    try:
        app()
    except (UserError, SpaceError, DataError) as error:
        Console(stderr=True).print(Text.assemble(("error: ", "red"), str(error)), soft_wrap=True)
        sys.exit(2)
