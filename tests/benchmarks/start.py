"""How quickly the command line answers: help, the release and completion, beside what loading typer alone costs.

Processor time of whole processes, the median of several that take turns: what else runs here disturbs all alike.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.table import Table

ROUNDS = 7
_TUNER = "from tuner.cli.app import main; import sys; sys.argv[0] = 'tuner'; main()"
SIDES: dict[str, tuple[str, dict[str, str], str]] = {
    "python -c 'import typer'": ("import typer", {}, ""),
    "tuner --help": (_TUNER, {}, "--help"),
    "tuner --version": (_TUNER, {}, "--version"),
    "completion of commands": (_TUNER, {"COMP_WORDS": "tuner comp", "COMP_CWORD": "1"}, ""),
    "completion of sweeps": (_TUNER, {"COMP_WORDS": "tuner compare ", "COMP_CWORD": "2"}, ""),
    "completion of spaces": (_TUNER, {"COMP_WORDS": "tuner launch q", "COMP_CWORD": "2"}, ""),
    "completion of settings": (_TUNER, {"COMP_WORDS": "tuner launch gan --set gen", "COMP_CWORD": "4"}, ""),
}
"""What is run, by name: code, environment and argument."""
AIM_S = {"tuner --help": 0.4, **{name: 0.3 for name in SIDES if name.startswith("completion")}}


def processor_s(code: str, environment: dict[str, str], argument: str, folder: Path) -> float:
    """Return the processor time of a new Python that runs code."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}  # as it is where the package is installed
    completing = {"_TUNER_COMPLETE": "complete_bash"} if environment else {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", code, *([argument] if argument else [])],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(Path(__file__).parents[2]), **compiled, **environment, **completing},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure() -> Table:
    """Return a row for each side: seconds of processor time, how many times typer's alone, and what was aimed at."""
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(50):
            (folder / "sweeps" / f"sweep-{number}").mkdir(parents=True)
            (folder / "sweeps" / f"sweep-{number}" / "sweep.json").touch()
        for _ in range(ROUNDS + 1):
            for side, (code, environment, argument) in SIDES.items():
                seconds[side].append(processor_s(code, environment, argument, folder))
    table = Table("what", "processor s", "times typer", "aim s", title="How quickly the command line answers")
    # The first round compiles.
    medians = {side: statistics.median(measured[1:]) for side, measured in seconds.items()}
    plain = medians["python -c 'import typer'"]
    for side, median in medians.items():
        aim = f"{AIM_S[side]:g}" if side in AIM_S else ""
        table.add_row(side, f"{median:.2f}", f"{median / plain:.1f}", aim)
    return table
