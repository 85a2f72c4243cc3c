"""The command that trains one configuration right here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuner.options import Data


def train(
    configuration: Annotated[
        str,
        typer.Argument(help="A trainable or published configuration (`tuner spaces list`), a JSON file or a bundle."),
    ],
    assign: Annotated[list[str] | None, typer.Option("--set", help="Like classifier.learning_rate=0.01.")] = None,
    output: Annotated[Path, typer.Option(help="The bundle to write.")] = Path("exports/trained"),
    data: Data = None,
) -> None:
    """Train one configuration here, without Ray, and write its bundle."""
    from tuner import preflight
    from tuner.single import read_configuration
    from tuner.single import train as run

    settings = read_configuration(configuration, assign or [])
    preflight.ensure_data(settings["dataset"]["name"], data, Console(stderr=True))
    typer.echo(run(settings, output, data, _print_report))


def _print_report(metrics: dict[str, float]) -> None:
    shown = {name: value for name, value in metrics.items() if name not in ("step", "train_s", "evaluation_s")}
    typer.echo("  ".join(f"{name} {value:.3f}" for name, value in shown.items()))
