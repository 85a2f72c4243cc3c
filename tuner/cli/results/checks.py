"""Commands that look into a sweep: its learning curves with another pruner, and whether its files are whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Data, Home, SweepName, open_home, open_sweep
from tuner.cli.output import Format, FormatOption, OutputOption, format_of, write_content, write_table
from tuner.cli.shell import completion
from tuner.errors import MISTAKE, UserError


def replay(
    sweep_name: SweepName,
    pruner: Annotated[
        str | None,
        typer.Option(metavar="PRUNER", help="As in a space: median, or '{successive_halving: {min_resource: 2}}'."),
    ] = None,
    output_format: FormatOption = None,
    output: OutputOption = None,
    home_folder: Home = None,
) -> None:
    """Say from which step on a sweep's curves judge rightly, and what another pruner would have saved and lost.

    A step judges rightly if its reports rank trials as their ends do, all of them and the best quarter alone.
    """
    chosen = format_of(output_format, output)
    sweep = open_sweep(sweep_name, home_folder)
    from trainables.common.valid_json import dump_json
    from tuner.results.judging import curves_of, judge_curves, judgement_sentences
    from tuner.results.terminal.checks import judgement_table, replay_table
    from tuner.results.terminal.output import say_all
    from tuner.search.replay import read_pruner, replay_sentences, replay_trials
    from tuner.sweep.snapshot import read_snapshot

    snapshot = read_snapshot(sweep, with_rows=True)
    result = None if pruner is None else replay_trials(snapshot, read_pruner(pruner))
    judgement = judge_curves(curves_of(snapshot.space, snapshot.records, snapshot.rows))
    if chosen == "json":
        content = {"sweep": snapshot.name, **(asdict(result) if result else {}), "curves": judgement.to_json()}
        write_content(dump_json(content).encode() + b"\n", output)
    else:
        table = replay_table(result) if result else judgement_table(snapshot.name, judgement)
        write_table(table, chosen, output, Console(markup=False), "`--format csv`")
        if chosen == "table" and output is None:
            sentences = [*(replay_sentences(result) if result else ()), *judgement_sentences(judgement)]
            say_all(Console(markup=False), sentences)
    exit_for_problems(snapshot.problems)


def verify(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP|BUNDLE",
            autocompletion=completion.sweeps,
            help="A sweep's name, or the folder of a bundle, whose recorded numbers are measured again.",
        ),
    ],
    output_format: FormatOption = None,
    output: OutputOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            autocompletion=completion.devices,
            help="Where a bundle's numbers are measured again: auto, cuda or one like cuda:1; by default cpu.",
        ),
    ] = None,
    data: Data = None,
    home_folder: Home = None,
) -> None:
    """Check every file of a sweep or a bundle: checksums, and that numbers agree. Exit code 0 or 2.

    Of a sweep these are its settings, study, metrics, checkpoints and results. A bundle's recorded accuracies are
    measured again and must be equal to the last digit, and model.pt2 must be the classifier of the weights.
    """
    chosen = format_of(output_format, output)
    from tuner.execution.preflight import choose_device

    if (Path(source) / "configuration.json").exists():
        _verify_bundle(Path(source), data, choose_device(device, by_default="cpu"), chosen, output)
        return
    if device is not None:
        raise UserError(f"--device is for a bundle, whose numbers are measured again, and {source} is no bundle here")
    if data is not None:
        raise UserError(f"--data is for a bundle, whose numbers are measured again, and {source} is no bundle here")
    from tuner.results.terminal.checks import verification_table
    from tuner.results.terminal.output import say_all
    from tuner.results.verify import verify_sweep

    verification = verify_sweep(source, open_home(home_folder))
    if chosen == "json":
        write_content(verification.to_json().encode() + b"\n", output)
    elif chosen == "table" and output is None:
        say_all(Console(markup=False), verification.lines)
    else:
        write_table(verification_table(verification), chosen, output, Console(markup=False))
    if verification.problems:
        raise typer.Exit(MISTAKE)


def _verify_bundle(folder: Path, data: Path | None, device: str, chosen: Format, output: Path | None) -> None:
    from trainables.common.valid_json import dump_json
    from tuner.results.bundles.check import verify_bundle
    from tuner.results.terminal.output import say_all
    from tuner.results.terminal.waiting import waiting

    if chosen not in ("table", "json"):
        raise UserError("what is wrong with a bundle is printed as text or as JSON: --format json")
    with waiting(Console(stderr=True, markup=False), f"Measuring {folder} again", in_logs=False):
        problems = verify_bundle(folder, data, device)
    if chosen == "json" or output is not None:
        write_content(dump_json({"bundle": str(folder), "problems": problems}).encode() + b"\n", output)
    else:
        whole = f"{folder}: every file is as it was written, and every recorded number holds"
        say_all(Console(markup=False), problems or [whole])
    if problems:
        raise typer.Exit(MISTAKE)


def reproduce(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A folder that `tuner export` or `tuner train` wrote.")
    ],
    output_format: FormatOption = None,
    output: OutputOption = None,
    data: Data = None,
) -> None:
    """Train a bundle's configuration again, and compare weights and numbers. Exit code 0 or 2.

    With the same code, seed and threads on a processor of the same model they are equal to the last bit. On another
    one training rounds otherwise: accuracies may then differ by 5 points, and what differs is said.
    """
    chosen = format_of(output_format, output)
    if chosen not in ("table", "json"):
        raise UserError("what came out is printed as text or as JSON: --format json")
    from search_spaces.sections import Dataset
    from trainables.common.valid_json import dump_json
    from tuner.execution import preflight
    from tuner.execution.single import read_configuration
    from tuner.execution.upkeep.reproducing import reproduce as train_again
    from tuner.results.terminal.output import say_all
    from tuner.results.terminal.waiting import counting

    preflight.check_data_folder(data)
    if not (bundle / "configuration.json").exists():
        raise UserError(f"{bundle} is no bundle here: name a folder that `tuner export` or `tuner train` wrote")
    settings = read_configuration(str(bundle), [])
    errors = Console(stderr=True, markup=False)
    preflight.ensure_data(Dataset.model_validate(settings["dataset"]), data, errors)
    with counting(errors, "Training") as on_progress:
        compute = round(settings["compute"])
        on_progress(0, compute)
        found = train_again(bundle, data, lambda metrics: on_progress(round(metrics["compute"]), compute))
    if chosen == "json" or output is not None:
        content = {**asdict(found), "is_equal": found.is_equal, "holds": found.holds}
        write_content(dump_json(content).encode() + b"\n", output)
    else:
        say_all(Console(markup=False), found.sentences())
    if not found.holds:
        raise typer.Exit(MISTAKE)
