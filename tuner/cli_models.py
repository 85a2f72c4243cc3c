"""Commands on one model: train a configuration right here, evaluate a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from tuner.errors import UserError
from tuner.options import Data

_MEASURES = ("clean_accuracy", "fgsm_accuracy", "rfgsm_accuracy", "pgd_accuracy", "robust_accuracy")


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


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A folder that `tuner export` or `tuner train` wrote.")],
    split: Annotated[Literal["validation", "test", "both"], typer.Option(help="Which images.")] = "both",
    images: Annotated[int | None, typer.Option(min=1, help="Only so many images of each split.")] = None,
    output_format: Annotated[Literal["table", "json"], typer.Option("--format", help="How to print it.")] = "table",
    data: Data = None,
) -> None:
    """Measure a bundle's clean, FGSM and robust accuracy again, and on the test set."""
    from tuner.export import recorded

    known = recorded(bundle)
    from trainables.bundle import BundleError, evaluate_bundle

    rows = {"recorded (validation)": known["metrics"]}
    try:
        for each in ("validation", "test") if split == "both" else (split,):
            threads = known["provenance"]["num_threads"]
            rows[each] = evaluate_bundle(bundle, each, data=data, num_images=images, num_threads=threads)
    except BundleError as error:
        raise UserError(str(error)) from error
    if output_format == "json":
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(title=f"{bundle}: accuracy in percent")
    table.add_column("images")
    for name in _MEASURES:
        table.add_column(name.removesuffix("_accuracy"), justify="right")
    for where, metrics in rows.items():
        table.add_row(where, *(f"{100 * metrics[name]:.2f}" for name in _MEASURES))
    Console(markup=False).print(table)
