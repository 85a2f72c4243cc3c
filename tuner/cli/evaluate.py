"""The command that measures finished classifiers, clean and under attack: one from disk, or all of a sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from search_spaces.limits import MAX_WORKERS
from trainables.common.limits import MAX_IMAGES
from tuner.cli.exits import exit_for_problems
from tuner.cli.options import AcceptCodeChange, Data, Device, Home, is_local_path, open_home, per_channel, radius
from tuner.cli.output import Format, FormatOption, OutputOption, format_of, write_content, write_table
from tuner.cli.shell import completion
from tuner.errors import STOPPED, UserError
from tuner.results.terminal.output import say

if TYPE_CHECKING:
    from trainables.storage.sweep_store import SweepStore
    from tuner.results.bundles.record import BundleRecord
    from tuner.sweep.folder import SweepFolder

_Tier = Literal["rank", "final"]
_Split = Literal["validation", "test", "both"]


def evaluate(  # noqa: PLR0913, PLR0917  # an argument for each option
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|FILE|SWEEP",
            autocompletion=completion.sweeps,
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
        int | None,
        typer.Option(metavar="N", min=1, max=MAX_IMAGES, help="Only the first so many images of each split."),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            parser=radius,
            metavar="NUMBER",
            help="The attacks' radius in (0, 1], like 0.3 or 8/255; by default a bundle's own, or 0.3.",
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a state_dict; by default the one that fits. Also net.py:build."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            autocompletion=completion.datasets,
            help="Of a state_dict, also ./images; by default mnist.",
        ),
    ] = None,
    mean: Annotated[
        float | None,
        typer.Option(
            parser=per_channel,
            metavar="NUMBER",
            help="Of the pixels in [0, 1] that a state_dict was trained on normalised; by default what it holds, or 0.",
        ),
    ] = None,
    std: Annotated[
        float | None,
        typer.Option(
            parser=per_channel,
            metavar="NUMBER",
            help="Their standard deviation; by default what it holds, or 1.",
        ),
    ] = None,
    autoattack: Annotated[
        bool, typer.Option("--autoattack", help="Also run AutoAttack standard, the public benchmark.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=MAX_WORKERS, help="Processes for the runs of a sweep; by default one per core."
        ),
    ] = None,
    device: Device = None,
    accept_code_change: AcceptCodeChange = False,
    output_format: FormatOption = None,
    output: OutputOption = None,
    data: Data = None,
    home_folder: Home = None,
) -> None:
    """Measure a classifier, or every complete run of a sweep, clean and under attack.

    The runs of a sweep are put under the strongest attacks on test images; what is measured is not measured again.
    """
    from tuner.execution.preflight import check_device

    chosen = format_of(output_format, output)
    check_device(device)
    of_path: dict[str, object] = {"--split": split, "--epsilon": epsilon, "--data": data}
    of_state_dict: dict[str, object] = {"--architecture": architecture, "--dataset": dataset}
    of_state_dict |= {"--mean": mean, "--std": std}
    if not is_local_path(source):
        sweep = _open_sweep(source, open_home(home_folder))
        of_path = {"--tier rank": "typed" if tier == "rank" else None, **of_path, **of_state_dict}
        _refuse(of_path, "a file or folder", f"{source} is a sweep: strongest attacks, test images, its own epsilon")
        _evaluate_sweep(
            sweep,
            (chosen, output),
            images=images,
            autoattack=autoattack,
            workers=workers,
            device=device,
            accept_code_change=accept_code_change,
        )
        return
    of_sweep = {"--workers": workers, "--home": home_folder, "--accept-code-change": accept_code_change or None}
    _refuse(of_sweep, "a sweep", f"{source} is a file or folder here")
    if Path(source).is_dir():
        _refuse(of_state_dict, "the file of a state_dict", f"{source} is a folder, which says that itself")
    tier = tier or "rank"
    split = split or ("test" if tier == "final" else "both")
    from tuner.results.terminal.waiting import waiting

    with waiting(Console(stderr=True, markup=False), f"Evaluating {source}", in_logs=False):
        results = _evaluate_path(
            Path(source),
            tier=tier,
            splits=("validation", "test") if split == "both" else (split,),
            images=images,
            epsilon=epsilon,
            architecture=architecture,
            dataset=dataset,
            mean=mean,
            std=std,
            autoattack=autoattack,
            data=data,
            device=device,
        )
    if chosen == "json":
        from trainables.common.valid_json import dump_json

        content = dump_json(results if tier == "final" else _flat(results))
        write_content(content.encode() + b"\n", output)
    else:
        _print_results(source, tier, results, (chosen, output))


def _refuse(options: Mapping[str, object], kind: str, reason: str) -> None:
    """Raise an error that names the options which were typed although they are for another kind of thing."""
    typed = ", ".join(name for name, value in options.items() if value is not None)
    if typed:
        raise UserError(f"{typed} cannot be used here, only for {kind}: {reason}")


def _open_sweep(name: str, where: SweepStore) -> SweepFolder:
    from tuner.sweep.folder import SweepFolder
    from tuner.sweep.homes import names

    try:
        return SweepFolder.open(name, home=where)
    except UserError as error:
        if name in names(where):
            raise
        raise UserError(f"there is no file or folder {name!r} here, and {error}") from error


def _evaluate_path(  # noqa: PLR0913 - an argument for each option
    path: Path,
    *,
    tier: _Tier,
    splits: tuple[str, ...],
    images: int | None,
    epsilon: float | None,
    architecture: str | None,
    dataset: str | None,
    mean: float | None,
    std: float | None,
    autoattack: bool,
    data: Path | None,
    device: str | None,
) -> dict[str, dict[str, Any]]:
    """Return what `evaluate_classifier` returns of a bundle or ``state_dict``, by the images."""
    from tuner.execution import preflight

    if autoattack and tier != "final":
        raise UserError("--autoattack stands beside the strongest attacks: add --tier final")
    if epsilon is not None and not 0 < epsilon <= 1:
        raise UserError(f"--epsilon must be above 0 and at most 1, the whole range of a pixel, not {epsilon:g}")
    from trainables.config.plugins.references import is_image_path
    from trainables.data import files as data_files

    if dataset is not None and dataset not in data_files.names() and not is_image_path(dataset):
        known = ", ".join(data_files.names())
        raise UserError(f"there is no dataset {dataset!r}: {known}, or the path of images of your own, like ./images")
    preflight.check_data_folder(data)
    chosen_device = preflight.choose_device(device)
    recorded = _recorded(path)
    from trainables.judging.saved import evaluate_classifier, load_classifier
    from trainables.networks.normalization import Normalization

    normalization = None if mean is None and std is None else Normalization(mean or 0.0, 1.0 if std is None else std)
    trained = load_classifier(
        path,
        architecture=architecture,
        dataset=dataset,
        epsilon=epsilon,
        normalization=normalization,
        code=_provide_code(architecture),
    )
    if recorded:
        trained = replace(trained, claimed_accuracy=recorded.metrics.get("clean"))
    results = {
        each: evaluate_classifier(
            trained,
            each,
            tier=tier,
            data=data,
            device=chosen_device,
            num_images=images,
            num_threads=min(recorded.num_threads, os.cpu_count() or 1) if recorded else 1,
            autoattack=autoattack,
        )
        for each in splits
    }
    if recorded and epsilon is None and tier == "rank":
        info = {name: value for name, value in results[splits[0]].items() if name not in ("metrics", "notes")}
        info |= {"split": "validation", "images": recorded.images}
        return {"recorded (validation)": {**info, "metrics": recorded.metrics}, **results}
    return results


def _provide_code(architecture: str | None) -> dict[str, str]:
    """Return the SHA-256 of the file of code that was typed as an architecture, which may run for that."""
    from trainables.config.plugins import user_code
    from trainables.config.plugins.references import code_reference

    reference = code_reference(architecture or "")
    if reference is None:
        return {}
    if not reference.is_file:
        return {reference.where: user_code.module_digest(reference.where)}
    return {reference.file_name: user_code.provide(user_code.read_source(Path(reference.where).expanduser()))}


def _flat(results: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return results with their metrics beside what says how they were measured."""
    return {
        name: {**result["metrics"], **{key: value for key, value in result.items() if key != "metrics"}}
        for name, result in results.items()
    }


def _recorded(path: Path) -> BundleRecord | None:
    """Return what a bundle says of its classifier; None for a file."""
    if not path.is_dir():
        return None
    from tuner.results.bundles.record import read_bundle_record

    return read_bundle_record(path)


def _print_results(
    source: str, tier: _Tier, results: Mapping[str, dict[str, Any]], where: tuple[Format, Path | None]
) -> None:
    from tuner.results.terminal import evaluation as evaluation_tables
    from tuner.sweep.evaluations import EvaluationResults

    console = Console(markup=False)
    typed = {name: EvaluationResults.model_validate(result) for name, result in results.items()}
    if where != ("table", None):
        write_table(evaluation_tables.rank_evaluation_table(source, typed), *where, console)
        return
    if tier == "rank":
        write_table(evaluation_tables.rank_evaluation_table(source, typed), *where, console, "`--format csv`")
    else:
        for result in typed.values():
            evaluation_tables.print_evaluation(source, result, console)
    for note in dict.fromkeys(note for result in typed.values() for note in result.notes):
        say(console, f"note: {note}")


def _evaluate_sweep(
    sweep: SweepFolder,
    where: tuple[Format, Path | None],
    *,
    images: int | None,
    autoattack: bool,
    workers: int | None,
    device: str | None,
    accept_code_change: bool,
) -> None:
    """Evaluate the complete runs of a sweep that have not been evaluated so, and print all of them."""
    from tuner.execution.evaluation import evaluate_sweep, evaluations_frame
    from tuner.results.terminal import evaluation as evaluation_tables
    from tuner.sweep.control import Control, StopRequested
    from tuner.sweep.snapshot import read_snapshot
    from tuner.tracking.sync import mirror_now

    console = Console(stderr=True, markup=False)
    is_stopped = False
    with sweep.lock("evaluate") as study_lock:
        control = Control(sweep)
        try:
            evaluate_sweep(
                sweep,
                study_lock,
                console,
                control,
                num_images=images,
                autoattack=autoattack,
                workers=workers,
                device=device,
                accept_code_change=accept_code_change,
            )
        except StopRequested:
            is_stopped = True
        try:
            mirror_now(sweep, console, with_runs=False)
        except UserError as error:
            say(console, f"{error}; `tuner sync {sweep.name}` tries again", "yellow")
        control.end()
    if is_stopped:
        say(console, f"Stopped on request; `tuner evaluate {sweep.name}` goes on where it stands")
        raise typer.Exit(STOPPED)
    snapshot = read_snapshot(sweep, with_evaluations=True)
    if where[0] == "table":
        table = evaluation_tables.sweep_evaluations_table(snapshot)
        write_table(table, *where, Console(markup=False), "`--format csv`")
    else:
        from tuner.results.frames import encode_frame

        write_content(encode_frame(evaluations_frame(snapshot), where[0]), where[1])
    exit_for_problems(snapshot.problems)


def judge(ctx: typer.Context) -> None:
    """Do what ``tuner evaluate`` does with the same arguments: its name for a sweep in earlier releases."""
    text = "`tuner judge` is `tuner evaluate` now: this name for it will go with the next release"
    say(Console(stderr=True, markup=False), text)
    group: Any = ctx.parent and ctx.parent.command
    command = group.commands["evaluate"]
    with command.make_context("evaluate", list(ctx.args), parent=ctx.parent) as context:
        command.invoke(context)
