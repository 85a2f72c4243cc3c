"""Processor seconds of an earlier commit beside the present tree's: both run in turns, on one thread each.

The code of the earlier commit is taken from the history.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, cast

from rich.table import Table

from tests.benchmarks.attack_speed import robust_weights
from tests.benchmarks.earlier import COMMIT, ROOT, extract, has_commit, why_missing

AIMS = {
    "PGD update": 1.35,
    "generator loop": 1.18,
    "FGSM retraining": 1.1,
    "standard": 0.98,
    "PGD-40 of the evaluator": 1.35,
}
ROUNDS = 25
INTERVAL = 7
"""The eighth smallest and the eighth largest of 25 ratios enclose their median with a confidence of 96 %."""


class Side:
    """A process that measures with the code of one tree; see `commit_side`."""

    def __init__(self, tree: Path, weights: Path) -> None:
        command = [sys.executable, "-P", str(ROOT / "tests" / "benchmarks" / "commit_side.py"), str(weights)]
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONWARNINGS": "ignore"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, cwd=tree, stdin=pipe, stdout=pipe, text=True)
        self.names = self._line().split("\t")

    def _line(self) -> str:
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"a side of the comparison ended with exit code {self._process.wait()}")
        return line.rstrip("\n")

    def seconds(self, name: str) -> float:
        """Return the processor seconds of one round."""
        asked = cast(IO[str], self._process.stdin)
        asked.write(f"{name}\n")
        asked.flush()
        return float(self._line())

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def measure() -> Table:
    """Return the ratio of every measurement: the median round, and the interval of the median."""
    table = Table(title=f"commits: processor seconds of {COMMIT}, divided by those of this tree; one thread")
    for name in ("what", f"{COMMIT}, ms", "now, ms", "ratio", "interval", "aim"):
        table.add_column(name, justify="left" if name == "what" else "right")
    if not has_commit():
        table.caption = why_missing()
        return table
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        tree = Path(folder)
        extract(tree)
        weights = robust_weights()
        sides = [Side(tree, weights), Side(ROOT, weights)]
        try:
            measured = {
                name: [_round(sides, name, number) for number in range(1 + ROUNDS)][1:] for name in sides[1].names
            }
        finally:
            for side in sides:
                side.end()
    for name, rounds in measured.items():
        earlier, now = (1000 * statistics.median(seconds) for seconds in zip(*rounds, strict=True))
        ratios = sorted(then / present for then, present in rounds)
        interval = f"{ratios[INTERVAL]:.2f}-{ratios[-1 - INTERVAL]:.2f}"
        ratio = f"{statistics.median(ratios):.2f}"
        table.add_row(name, f"{earlier:.0f}", f"{now:.0f}", ratio, interval, f">= {AIMS[name]:g}")
    return table


def _round(sides: list[Side], name: str, number: int) -> tuple[float, float]:
    """Return the seconds of both sides; every other round begins with the second one."""
    order = (0, 1) if number % 2 else (1, 0)
    seconds = {which: sides[which].seconds(name) for which in order}
    return seconds[0], seconds[1]
