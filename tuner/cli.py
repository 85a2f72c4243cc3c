"""The command line: what each command does is its docstring. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from search_spaces.mistakes import SpaceError
from trainables.data_files import DataError
from trainables.files import is_storage_trouble
from tuner import (
    cli_cluster,
    cli_confirm,
    cli_judging,
    cli_results,
    cli_spaces,
    cli_steering,
    cli_train,
    control,
    nodes,
)
from tuner.cli_cluster import on_cluster
from tuner.endings import FAILED, INTERRUPTED, MISTAKE, conclude
from tuner.errors import SweepError, UserError
from tuner.options import Data, Detach, Home, MaxConcurrent, StudyStorage, SweepName
from tuner.sweep import Sweep, home

app = typer.Typer(
    help="Hyperparameter search for adversarially robust classifiers: Optuna thinks, Ray runs, MLflow shows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
console = Console(markup=False)  # paths and messages may hold brackets


@app.command()
@on_cluster
def launch(
    space: Annotated[str, typer.Argument(help="A packaged space (`tuner spaces list`) or a YAML file.")],
    name: Annotated[str | None, typer.Option(help="What to call the sweep; by default the space's name.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials, instead of the space's number.")] = None,
    warm_start: Annotated[
        list[str] | None, typer.Option("--warm-start", metavar="SWEEP", help="Begin with what its trials tell.")
    ] = None,
    max_concurrent: MaxConcurrent = None,
    detach: Detach = False,
    home_folder: Home = None,
    study_storage: StudyStorage = None,
    data: Data = None,
) -> None:
    """Start a sweep: search the space on Ray, with its baselines beside it."""
    from tuner import starting

    options: dict[str, Any] = {"name": name, "trials": trials, "data": data, "warm_start": warm_start or ()}
    options |= {"study_storage": study_storage, "max_concurrent": max_concurrent}
    sweep = starting.new_sweep(space, home(home_folder), console, **options)
    console.print(f"Sweep {sweep.name} in {sweep.place}", soft_wrap=True, highlight=False)
    _drive(sweep, detach)


@app.command()
@on_cluster
def resume(
    sweep_name: SweepName,
    trials: Annotated[int | None, typer.Option(min=1, help="Extend the sweep to this many trials.")] = None,
    max_concurrent: MaxConcurrent = None,
    detach: Detach = False,
    home_folder: Home = None,
) -> None:
    """Go on with a sweep where it stands, whatever ended it; extend it; or end the pause of its driver."""
    from tuner import starting

    sweep = Sweep.open(sweep_name, home=home(home_folder))
    if trials is None and max_concurrent is None and control.end_pause(sweep):
        console.print(f"{sweep.name} goes on; `tuner watch {sweep.name}` shows it", soft_wrap=True, highlight=False)
        return
    _drive(starting.ready_again(sweep, console, trials=trials, max_concurrent=max_concurrent), detach)


@app.command()
@on_cluster
def sync(sweep_name: SweepName, home_folder: Home = None) -> None:
    """Bring MLflow up to date with a sweep's folder; run again, it changes nothing."""
    sweep = Sweep.open(sweep_name, home=home(home_folder))
    from tuner.driver import mirror_now

    with sweep.lock():
        mirror_now(sweep, console)
    console.print(f"MLflow has every run of {sweep.name}")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Beyond this machine with passwords; MLFLOW_SERVER_ALLOWED_HOSTS: its names.")
    ] = "127.0.0.1",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Open to whoever reaches it, without a password.")
    ] = False,
    home_folder: Home = None,
) -> None:
    """Open the MLflow UI of the sweeps in this home, on loopback, until Ctrl-C."""
    from tuner.mlflow_store import server_command, tracking_uri

    where = home(home_folder)
    if not where.is_dir():
        raise UserError(f"there are no sweeps in {where}: `tuner launch quick` starts one; see --home")
    uri = tracking_uri(where)
    if not uri.startswith("sqlite:"):
        raise UserError(f"MLFLOW_TRACKING_URI is {uri}: that server has a UI of its own, open it in a browser")
    is_open = not nodes.is_loopback(host)
    command = server_command(uri, host, port, asks_for_password=is_open and not insecure)
    console.print(f"MLflow on http://{host}:{port} (Ctrl-C ends it)", highlight=False)
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    sys.stdout.flush()
    os.chdir(where)  # MLflow puts its database of users right here
    os.execve(sys.executable, command, environment)  # noqa: S606


for _command in (
    cli_steering.status,
    cli_steering.watch,
    cli_steering.pause,
    cli_steering.stop,
    cli_steering.logs,
    cli_steering.trials,
    cli_steering.replay,
    cli_results.compare,
    cli_results.draw,
    cli_results.export,
    cli_confirm.confirm,
    cli_judging.judge,
):
    app.command()(on_cluster(_command))
app.command()(cli_train.train)
app.command()(cli_judging.evaluate)
app.command()(cli_spaces.data)
app.add_typer(cli_spaces.app, name="spaces")
app.add_typer(cli_cluster.app, name="cluster")


def _drive(sweep: Sweep, detach: bool) -> None:
    how_to_go_on = f"`tuner resume {sweep.name}` goes on where it stands"
    if detach:
        from tuner import starting

        pid = starting.detach(sweep)
        text = f"Process {pid} goes on with it: `tuner watch {sweep.name}` shows how, `tuner stop {sweep.name}` ends it"
        console.print(text, soft_wrap=True, highlight=False)
        return
    try:
        from tuner.driver import drive

        ending = drive(sweep, console)
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; {how_to_go_on}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    conclude(ending, sweep.name, console, how_to_go_on)
    cli_results.print_comparison(sweep, console)
    console.print(
        f"`tuner export {sweep.name}` writes the best configuration; `tuner ui` shows every run", soft_wrap=True
    )


def main() -> None:
    """Run a command; a person's mistake ends with its message and exit code 2, what fails by itself with 1."""
    try:
        app()
    except (UserError, SpaceError, DataError, SweepError) as error:
        _say(str(error))
        sys.exit(FAILED if isinstance(error, SweepError) else MISTAKE)
    except OSError as error:
        if not is_storage_trouble(error):
            raise
        _say(f"cannot be written: {error}; nothing that was reported is lost")
        sys.exit(FAILED)


def _say(text: str) -> None:
    Console(stderr=True).print(Text.assemble(("error: ", "red"), text), soft_wrap=True)
