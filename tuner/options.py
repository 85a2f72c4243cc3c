"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's name; `tuner status` lists them.")]
Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all sweeps; by default TUNER_HOME, else ./sweeps.")
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder with the dataset's files; by default they are fetched.")
]
