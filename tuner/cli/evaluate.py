"""The command that measures finished classifiers, clean and under attack: one from disk, or all of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from search_spaces.sections import MAX_WORKERS
from trainables.config import MAX_IMAGES
from trainables.data import files as data_files
from trainables.storage.sweep_store import SweepStore
from tuner.cli.options import Data, Home, is_local_path, radius, table_console
from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder, home, names

if TYPE_CHECKING:
    from tuner.results.export import BundleRecord

_Tier = Literal["rank", "final"]
_Split = Literal["validation", "test", "both"]


def evaluate(  # noqa: PLR0913, PLR0917  # an argument for each option
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH|SWEEP",
            help="A folder that `tuner export` or `tuner train` wrote, a PyTorch state_dict, or the name of a sweep, "
            "every complete run of which is evaluated. If the name is also that of a file here, the file is meant.",
        ),
    ],
    tier: Annotated[
        _Tier | None,
        typer.Option(help="final: the strongest attacks, minutes; by default rank, and of a sweep always final."),
    ] = None,
    split: Annotated[
        _Split | None, typer.Option(help="Which images: by default both, and for final test. Not of a sweep: test.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, max=MAX_IMAGES, help="Only the first so many images of each split.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            parser=radius,
            metavar="NUMBER",
            help="The attacks' radius in (0, 1], like 0.3 or 8/255; by default a bundle's own, or 0.3.",
        ),
    ] = None,
    architecture: Annotated[str | None, typer.Option(help="Of a state_dict; by default the one that fits.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Of a state_dict; by default mnist.")] = None,
    autoattack: Annotated[
        bool, typer.Option("--autoattack", help="Also run AutoAttack standard, the public benchmark.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_WORKERS, help="Processes for the runs of a sweep; by default one per core."),
    ] = None,
    output_format: Annotated[Literal["table", "json"], typer.Option("--format", help="How to print it.")] = "table",
    data: Data = None,
    home_folder: Home = None,
) -> None:
    """Measure a classifier, or every complete run of a sweep, clean and under attack.

    The runs of a sweep are put under the strongest attacks on test images; what is measured is not measured again.
    """
    of_path: dict[str, object] = {"--split": split, "--epsilon": epsilon, "--data": data}
    of_state_dict: dict[str, object] = {"--architecture": architecture, "--dataset": dataset}
    if not is_local_path(source):
        sweep = _open_sweep(source, home(home_folder))
        of_path = {"--tier rank": "typed" if tier == "rank" else None, **of_path, **of_state_dict}
        _refuse(of_path, "a file or folder", f"{source} is a sweep: strongest attacks, test images, its own epsilon")
        _evaluate_sweep(sweep, images=images, autoattack=autoattack, workers=workers, output_format=output_format)
        return
    _refuse({"--workers": workers, "--home": home_folder}, "a sweep", f"{source} is a file or folder here")
    if Path(source).is_dir():
        _refuse(of_state_dict, "the file of a state_dict", f"{source} is a folder, which says that itself")
    tier = tier or "rank"
    split = split or ("test" if tier == "final" else "both")
    results = _evaluate_path(
        Path(source),
        tier=tier,
        splits=("validation", "test") if split == "both" else (split,),
        images=images,
        epsilon=epsilon,
        architecture=architecture,
        dataset=dataset,
        autoattack=autoattack,
        data=data,
    )
    if output_format == "json":
        typer.echo(json.dumps(results, indent=2))
    else:
        _print_results(source, tier, results)


def _refuse(options: Mapping[str, object], kind: str, reason: str) -> None:
    """Raise an error that names the options which were typed although they are for another kind of thing."""
    typed = ", ".join(name for name, value in options.items() if value is not None)
    if typed:
        raise UserError(f"{typed} cannot be used here, only for {kind}: {reason}")


def _open_sweep(name: str, where: SweepStore) -> SweepFolder:
    try:
        return SweepFolder.open(name, home=where)
    except UserError as error:
        if name in names(where):
            raise
        raise UserError(f"there is no file or folder {name!r} here, and {error}") from error


def _evaluate_path(
    path: Path,
    *,
    tier: _Tier,
    splits: tuple[str, ...],
    images: int | None,
    epsilon: float | None,
    architecture: str | None,
    dataset: str | None,
    autoattack: bool,
    data: Path | None,
) -> dict[str, dict[str, Any]]:
    """Return what was measured of a bundle or ``state_dict`` by the images that it was measured on."""
    if autoattack and tier != "final":
        raise UserError("--autoattack stands beside the strongest attacks: add --tier final")
    if epsilon is not None and not 0 < epsilon <= 1:
        raise UserError(f"--epsilon must be above 0 and at most 1, the whole range of a pixel, not {epsilon:g}")
    if dataset is not None and dataset not in data_files.names():
        raise UserError(f"there is no dataset {dataset!r}: {', '.join(data_files.names())}")
    recorded = _recorded(path)
    from trainables.judging.saved import evaluate_classifier, load_classifier

    trained = load_classifier(path, architecture=architecture, dataset=dataset, epsilon=epsilon)
    options: dict[str, Any] = {
        "data": data,
        "num_images": images,
        "num_threads": recorded.num_threads if recorded else 1,
    }
    if tier == "final":
        return {
            each: evaluate_classifier(trained, each, tier=tier, **options, autoattack=autoattack) for each in splits
        }
    results: dict[str, dict[str, Any]] = {
        each: evaluate_classifier(trained, each, **options)["metrics"] for each in splits
    }
    if recorded and epsilon is None:
        return {"recorded (validation)": recorded.metrics, **results}
    return results


def _recorded(path: Path) -> BundleRecord | None:
    """Return what a bundle says of its classifier; None for a file."""
    if path.is_file():
        return None
    from tuner.results.export import read_bundle_record

    return read_bundle_record(path)


def _print_results(source: str, tier: _Tier, results: Mapping[str, dict[str, Any]]) -> None:
    from tuner.results import evaluation_tables

    console = Console(markup=False)
    if tier == "rank":
        table_console(console).print(evaluation_tables.rank_evaluation_table(source, results))
        return
    from tuner.sweep.evaluations import EvaluationResults

    for result in results.values():
        evaluation_tables.print_evaluation(source, EvaluationResults.model_validate(result), console)


def _evaluate_sweep(
    sweep: SweepFolder, *, images: int | None, autoattack: bool, workers: int | None, output_format: str
) -> None:
    """Evaluate the complete runs of a sweep that have not been evaluated so, and print all of them."""
    from tuner.execution.judging import complete_runs, evaluate_runs, evaluations_frame
    from tuner.results import evaluation_tables
    from tuner.sweep.snapshot import read_snapshot
    from tuner.tracking.sync import mirror_now

    console = Console(stderr=True, markup=False)
    with sweep.lock():
        evaluate_runs(
            sweep,
            complete_runs(read_snapshot(sweep, is_locked=True)),
            num_images=images,
            autoattack=autoattack,
            workers=workers,
            tell=console.print,
        )
        try:
            mirror_now(sweep, console, with_runs=False)
        except UserError as error:
            console.print(f"{error}; `tuner sync {sweep.name}` tries again", style="yellow", soft_wrap=True)
    snapshot = read_snapshot(sweep, with_evaluations=True)
    if output_format == "json":
        typer.echo(evaluations_frame(snapshot).to_json(orient="records", indent=2))
    else:
        table_console(Console(markup=False)).print(evaluation_tables.sweep_evaluations_table(snapshot))


def judge(ctx: typer.Context) -> None:
    """Do what ``tuner evaluate`` does with the same arguments: its name for a sweep in earlier releases."""
    typer.echo("`tuner judge` is `tuner evaluate` now: this name for it will go with the next release", err=True)
    group: Any = ctx.parent and ctx.parent.command
    command = group.commands["evaluate"]
    with command.make_context("evaluate", list(ctx.args), parent=ctx.parent) as context:
        command.invoke(context)
