"""Commands that judge finished classifiers: one from disk, or all of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from trainables.data import files as data_files
from tuner.cli.options import Data, Home, SweepName, wide
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder, home

Images = Annotated[int | None, typer.Option(min=1, help="Only so many images of each split.")]
Format = Annotated[Literal["table", "json"], typer.Option("--format", help="How to print it.")]
AutoAttack = Annotated[bool, typer.Option("--autoattack", help="Also run AutoAttack standard, the public benchmark.")]


def evaluate(
    source: Annotated[
        Path, typer.Argument(help="A folder that `tuner export` or `tuner train` wrote, or a PyTorch state_dict.")
    ],
    tier: Annotated[Literal["rank", "final"], typer.Option(help="final: the strongest attacks, minutes.")] = "rank",
    split: Annotated[
        Literal["validation", "test", "both"] | None, typer.Option(help="Which images: both, and for final test.")
    ] = None,
    images: Images = None,
    epsilon: Annotated[
        float | None, typer.Option(help="The attacks' radius in (0, 1]; by default the run's own, or 0.3.")
    ] = None,
    architecture: Annotated[str | None, typer.Option(help="Of a state_dict; by default the one that fits.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Of a state_dict; by default mnist.")] = None,
    autoattack: AutoAttack = False,
    output_format: Format = "table",
    data: Data = None,
) -> None:
    """Measure a classifier, clean and under attack, on validation and test images."""
    if autoattack and tier != "final":
        raise UserError("--autoattack stands beside the strongest attacks: add --tier final")
    if epsilon is not None and not 0 < epsilon <= 1:
        raise UserError(f"--epsilon must be above 0 and at most 1, the whole range of a pixel, not {epsilon:g}")
    if dataset is not None and dataset not in data_files.names():
        raise UserError(f"there is no dataset {dataset!r}: {', '.join(data_files.names())}")
    known = _recorded(source)
    from trainables.judging.saved import evaluate_classifier, load_classifier
    from tuner.results import evaluation_tables

    trained = load_classifier(source, architecture=architecture, dataset=dataset, epsilon=epsilon)
    options: dict[str, Any] = {"data": data, "num_images": images, "num_threads": known.get("num_threads", 1)}
    chosen = split or ("test" if tier == "final" else "both")
    splits = ("validation", "test") if chosen == "both" else (chosen,)
    results: dict[str, dict[str, Any]] = {}
    if tier == "rank":
        results = {each: evaluate_classifier(trained, each, **options)["metrics"] for each in splits}
        if "metrics" in known and epsilon is None:
            results = {"recorded (validation)": known["metrics"], **results}
    else:
        results = {
            each: evaluate_classifier(trained, each, tier=tier, **options, autoattack=autoattack) for each in splits
        }
    if output_format == "json":
        typer.echo(json.dumps(results, indent=2))
    elif tier == "rank":
        wide(Console(markup=False)).print(evaluation_tables.rank_evaluation_table(str(source), results))
    else:
        from tuner.sweep.evaluations import EvaluationResults

        for result in results.values():
            evaluation_tables.print_evaluation(
                str(source), EvaluationResults.model_validate(result), Console(markup=False)
            )


def judge(
    sweep_name: SweepName,
    images: Annotated[int | None, typer.Option(min=1, help="Only the first so many test images.")] = None,
    autoattack: AutoAttack = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    output_format: Format = "table",
    home_folder: Home = None,
) -> None:
    """Put every complete run of a sweep under the strongest attacks, on test images; what is done is not done again."""
    sweep = SweepFolder.open(sweep_name, home=home(home_folder))
    from tuner.execution.judging import complete_runs, evaluate_runs, evaluations_frame
    from tuner.results import evaluation_tables
    from tuner.tracking.sync import mirror_now

    console = Console(stderr=True, markup=False)
    with sweep.lock():
        evaluate_runs(
            sweep,
            complete_runs(sweep),
            num_images=images,
            autoattack=autoattack,
            workers=workers,
            tell=console.print,
        )
        try:
            mirror_now(sweep, console, with_runs=False)
        except UserError as error:
            console.print(f"{error}; `tuner sync {sweep.name}` tries again", style="yellow", soft_wrap=True)
    if output_format == "json":
        typer.echo(evaluations_frame(sweep).to_json(orient="records", indent=2))
    else:
        wide(Console(markup=False)).print(evaluation_tables.sweep_evaluations_table(sweep))


def _recorded(source: Path) -> dict[str, Any]:
    """Return what a bundle says of itself; nothing for a file."""
    if source.is_file():
        return {}
    from tuner.results.export import recorded

    account = recorded(source)
    return {"metrics": account["metrics"], "num_threads": account["provenance"]["num_threads"]}
