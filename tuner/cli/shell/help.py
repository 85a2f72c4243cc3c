"""What ``--help`` says of each command: one short sentence for lists, and examples that can be typed as they are."""

from __future__ import annotations

from typing import Any

import typer

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
PAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "launch": (
        "Start a sweep: search a space, baselines beside it.",
        (
            "tuner launch gan --name first --trials 100",
            "tuner launch quick --set generator.width=32 --set budget.trials=20",
            "tuner launch quick --dry-run",
        ),
    ),
    "resume": ("Go on with a sweep, or extend it.", ("tuner resume first", "tuner resume first --trials 200")),
    "status": ("Print how far sweeps have come.", ("tuner status", "tuner status first --format json")),
    "watch": ("Show a sweep's live table.", ("tuner watch first",)),
    "pause": ("Let a driver release its processors.", ("tuner pause first",)),
    "stop": ("Let a driver end; nothing is lost.", ("tuner stop first",)),
    "logs": ("Print the log of a run or of the driver.", ("tuner logs first 7 --follow",)),
    "compare": (
        "Compare trials with baselines, or sweeps.",
        (
            "tuner compare first --top 5 --sort clean",
            "tuner compare first --columns run,robust,generator.width",
            "tuner compare first second",
            "tuner compare first --output first.csv",
        ),
    ),
    "trials": (
        "Write every run as a row.",
        ("tuner trials first --sort robust", "tuner trials first -o first.parquet"),
    ),
    "show": ("Show all that is known of a run.", ("tuner show first 7", "tuner show first standard --format json")),
    "draw": ("Draw a run's pictures.", ("tuner draw first --run 7",)),
    "export": (
        "Write a run as a folder that stands alone.",
        ("tuner export first", "tuner export first --run 7 --as-space", "tuner export first --top 3"),
    ),
    "report": ("Explain a sweep in one HTML file.", ("tuner report first", "tuner report first -o /tmp/first.html")),
    "confirm": ("Run the best again, on test images.", ("tuner confirm first --top 3 --seeds 5",)),
    "evaluate": (
        "Measure a classifier, or all of a sweep.",
        ("tuner evaluate exports/first-trial-0007", "tuner evaluate first --images 1000"),
    ),
    "replay": ("Judge past curves; try another pruner.", ("tuner replay first", "tuner replay first --pruner median")),
    "verify": ("Check a sweep or a bundle.", ("tuner verify first", "tuner verify exports/first-trial-0007")),
    "copy": ("Copy a sweep to one of its own.", ("tuner copy first second",)),
    "delete": ("Delete a sweep, after asking.", ("tuner delete first",)),
    "sync": ("Bring MLflow up to date with a sweep.", ("tuner sync first",)),
    "ui": ("Open the sweeps of a home in MLflow.", ("tuner ui", "tuner ui first")),
    "dashboard": ("Look at a sweep in Optuna's dashboard.", ("tuner dashboard first",)),
    "train": (
        "Train one configuration, without Ray.",
        ("tuner train gan --set ratio.generator_turns=2 --output exports/one",),
    ),
    "reproduce": ("Train a bundle again and compare.", ("tuner reproduce exports/first-trial-0007",)),
    "trust": ("Let code in a sweep or bundle from elsewhere run.", ("tuner trust exports/theirs",)),
    "data": ("Fetch datasets, or list them.", ("tuner data mnist",)),
    "spaces": ("List, check and show search spaces.", ()),
    "spaces list": ("List spaces and published configurations.", ("tuner spaces list",)),
    "spaces check": ("Check a search-space file.", ("tuner spaces check mine.yaml",)),
    "spaces plan": (
        "Print what a search would cost.",
        ("tuner spaces plan gan", "tuner spaces plan gan --gpus 8 --report 3s"),
    ),
    "spaces schema": ("Print a JSON schema for editors.", ("tuner spaces schema",)),
    "spaces show": ("Print a space with its schedules.", ("tuner spaces show gan --picture gan.png",)),
    "cluster": ("Start the nodes of a Ray cluster.", ()),
    "cluster head": ("Start a cluster's head here.", ("tuner cluster head --host 10.0.0.5",)),
    "cluster slurm": (
        "Write a job script for SLURM.",
        ("tuner cluster slurm gan --nodes 4 --gpus-per-node 8 -o gan.sbatch",),
    ),
    "cluster join": ("Let this machine join a cluster.", ("tuner cluster join 10.0.0.5:6379",)),
}


def page(command: str) -> dict[str, Any]:
    """Return what a command is registered with: its short help, and examples below its options."""
    short, lines = PAGES[command]
    epilog = "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])
    return {"short_help": short, **({"epilog": epilog} if lines else {})}


def short_help(command: str) -> str:
    """Return what the list of commands says of one."""
    return PAGES[command][0]


def examples() -> dict[str, tuple[str, ...]]:
    """Return the examples of every command, by its words after ``tuner``."""
    return {command: lines for command, (_, lines) in PAGES.items()}


def print_version(value: bool) -> None:
    """Print the release and end, if that is asked for."""
    if not value:
        return
    import platform
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("adversarial-tuner")
    except PackageNotFoundError:
        release = "unknown: it is not installed"
    typer.echo(f"adversarial-tuner {release} (Python {platform.python_version()})")
    raise typer.Exit
