"""Commands that list, check and show search spaces, and that fetch datasets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from search_spaces.limits import MAX_CONCURRENT, TRIALS_LIMIT
from trainables.common.words import counted
from trainables.storage.atomic import reason_of
from tuner.cli.exits import exit_for_problems
from tuner.cli.options import Data, MaxConcurrent, local_only
from tuner.cli.output import FormatOption, OutputOption, format_of, write_table
from tuner.cli.shell import completion
from tuner.cli.shell.help import page
from tuner.cli.shell.usage import QuickCommand, QuickGroup
from tuner.errors import TunerError, UserError
from tuner.results.terminal.output import fold_yaml, say, say_all
from tuner.results.terminal.waiting import waiting

if TYPE_CHECKING:
    from search_spaces.schedule_preview import SchedulePreview


app = typer.Typer(cls=QuickGroup, help="List, check and show search spaces.", no_args_is_help=True)
SpaceName = Annotated[
    str, typer.Argument(metavar="SPACE", autocompletion=completion.spaces, help="A packaged space or a YAML file.")
]


@app.command("list", cls=QuickCommand, **page("spaces list"))
def list_spaces(output_format: FormatOption = None, output: OutputOption = None) -> None:
    """List the packaged search spaces, and the published configurations that a space or `tuner train` can name."""
    from tuner.results.terminal.library import plugin_lines, published_table, spaces_table

    chosen, console = format_of(output_format, output), Console(markup=False)
    if chosen == "table" and output is None:
        write_table(spaces_table(), chosen, None, console, "`--format csv`")
        console.print()
        write_table(published_table(), chosen, None, console, "`--format csv`")
        for line in plugin_lines():
            say(console, line)
        return
    spaces, published = spaces_table(), published_table()
    rows = tuple(replace(row, values={"kind": "space", **row.values}) for row in spaces.rows)
    rows += tuple(replace(row, values={"kind": "published", **row.values}) for row in published.rows)
    write_table(replace(spaces, rows=rows), chosen, output, console)


@app.command(cls=QuickCommand, **page("spaces check"))
def check(
    spaces: Annotated[
        list[str],
        typer.Argument(metavar="SPACE", autocompletion=completion.spaces, help="Packaged spaces or YAML files."),
    ],
) -> None:
    """Check search-space files; every mistake is listed at once."""
    problems = []
    for space in spaces:
        try:
            _check(space, Console(markup=False))
        except TunerError as error:
            problems.append(str(error))
    exit_for_problems(problems)


def _check(space: str, console: Console) -> None:
    """Print what a space is; raise an error that lists its mistakes."""
    from search_spaces.library import text_of
    from tuner.search.sampling.checked import notes_on_sampler, parse_checked_space

    parsed = parse_checked_space(*text_of(space))
    varying = sum(parameter.varies for parameter in parsed.parameters)
    parameters = f"{counted(varying, 'parameter')} {'varies' if varying == 1 else 'vary'}"
    say(console, f"{space}: fine: {counted(parsed.num_trials, 'trial')} of {parsed.trainable}, {parameters}")
    if (rung := parsed.search.pruner.first_rung) is not None:
        say(console, f"trials are first compared at a compute of {rung:g} of {parsed.budget.compute:g}")
    say_all(console, notes_on_sampler(parsed))


@app.command(cls=QuickCommand, **page("spaces show"))
def show(
    space: SpaceName,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", callback=local_only, help="Also draw its schedules into this PNG."),
    ] = None,
) -> None:
    """Print a search-space file with examples of its schedules as comments, or a published configuration."""
    from search_spaces import library
    from search_spaces.errors import SpaceError
    from trainables.training.published import PUBLISHED

    if space in PUBLISHED:
        if picture is not None:
            raise UserError(f"{space} is a published configuration: --picture draws the schedules of a space")
        _echo_yaml(f"# {PUBLISHED[space].source}\n{json.dumps(PUBLISHED[space].settings, indent=2)}")
        return
    text, source = library.text_of(space)
    _echo_yaml(text)
    from search_spaces.configurations import parse_space
    from search_spaces.schedule_preview import preview_lines, preview_schedules

    try:
        parsed = parse_space(text, source)
    except SpaceError:
        if picture is not None:
            raise
        return  # a file with mistakes can be looked at; `check` tells them
    previews = preview_schedules(parsed.parameters)
    if previews:
        _echo_yaml("\n".join(preview_lines(previews)))
    if picture is not None:
        with waiting(Console(stderr=True, markup=False), "Drawing", in_logs=False):
            _draw(parsed.name, previews, picture)
        typer.echo(f"picture: {picture}", err=True)


def _echo_yaml(text: str) -> None:
    """Print YAML: within the width of a terminal, and as it is into a pipe or a file."""
    console = Console()
    text = text.removesuffix("\n")
    typer.echo(fold_yaml(text, console.width) if console.is_terminal else text)


@app.command(cls=QuickCommand, **page("spaces schema"))
def schema() -> None:
    """Print the JSON schema of a search-space file, with which an editor completes and describes its keys."""
    from search_spaces.parsing.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=1))


@app.command(cls=QuickCommand, **page("spaces plan"))
def plan(
    space: SpaceName,
    trials: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=TRIALS_LIMIT, help="Trials, instead of the space's number.")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", autocompletion=completion.space_settings, help="As for `launch`."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=MAX_CONCURRENT, help="On so many GPUs, not on this machine.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="What a report takes there, like 3.5s; by default it is measured here."),
    ] = None,
    max_concurrent: MaxConcurrent = None,
    data_folder: Data = None,
) -> None:
    """Print what a search would cost: trials, compute and time on this machine or on some GPUs."""
    from search_spaces.configurations import assigned_space
    from search_spaces.library import text_of
    from search_spaces.sections import seconds_of
    from tuner.execution.estimate import estimate, plan_lines
    from tuner.execution.preflight import check_data_folder
    from tuner.search.sampling.checked import parse_checked_space

    try:
        report_s = None if report is None else seconds_of(report)
    except ValueError as error:
        raise UserError(f"--report {error}") from None
    check_data_folder(data_folder)
    text, source = text_of(space)
    parsed = parse_checked_space(assigned_space(text, source, assign or []), source)
    found = estimate(parsed, trials, data_folder, max_concurrent, num_gpus=gpus, report_s=report_s)
    say_all(Console(markup=False), plan_lines(parsed, found, gpus))


def _draw(name: str, previews: Sequence[SchedulePreview], target: Path) -> None:
    from tuner.results.pictures import draw, figures

    if not previews:
        message = "no setting changes over the run; write like {float: [0.1, 0.3], schedule: [constant, linear]}"
        raise UserError(f"{name}: {message}")
    try:
        title = f"{name}: schedules over the run (shaded: their range, lines: examples)"
        draw.save_figure(figures.schedules(title, previews), target)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot draw {target}: {reason_of(error)}") from error


def data(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATASET", autocompletion=completion.datasets, help="Datasets to fetch; none: only list them."
        ),
    ] = None,
    folder: Data = None,
    output_format: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Fetch datasets and verify their checksums, or list all datasets and whether they are here."""
    from search_spaces.sections import Dataset
    from trainables.data import files as data_files
    from tuner.execution import preflight
    from tuner.results.terminal.library import datasets_table

    chosen = format_of(output_format, output)
    unknown = [name for name in names or [] if name not in data_files.names()]
    if unknown:
        raise UserError(f"no dataset named {', '.join(unknown)}; there are {', '.join(data_files.names())}")
    for name in names or []:
        preflight.ensure_data(Dataset(name=name), folder, Console(stderr=True))
    table, console = datasets_table(folder), Console(markup=False)
    write_table(table, chosen, output, console, "`--format csv`")
    unusable = [row.values["dataset"] for row in table.rows if row.values["verified"] != "yes"]
    if unusable and folder is None and chosen == "table" and output is None:
        say(console, f"`tuner data {unusable[0]}` fetches that dataset; a launch fetches what it needs")
