"""What a sweep's files cost beside those of an earlier commit: to open a sweep of many trials, and to report.

Each side is a process with its own code, and reads a sweep that it has written: the earlier one without checksums and
identities. They take turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import comb
from pathlib import Path

from rich.table import Table

from tests.benchmarks.earlier import COMMIT, ROOT, extract, has_commit, why_missing
from tests.benchmarks.slots import temporary_home

NUM_TRIALS = 10_000
ROUNDS = 11
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
"""Lets glibc keep memory that is freed: whether it does so by itself is luck, for the whole life of a process."""

AIM = 1.2
OPERATIONS = {
    "records": "read every run",
    "opening": "open the ledger",
    "driver": "50 reports, driver",
    "worker": "50 reports, worker",
}


def measure() -> Table:
    """Run both sides, operation by operation."""
    num_trials = int(os.environ.get("BENCHMARK_TRIALS", NUM_TRIALS))
    table = Table(title=f"storage: seconds of processor time, {num_trials:,} trials, beside {COMMIT}")
    for name in ("operation", "now", COMMIT, "now / before", "95 % of it", "aim"):
        table.add_column(name, justify="left" if name == "operation" else "right")
    if not has_commit():
        table.caption = why_missing()
        return table
    with temporary_home() as home, ExitStack() as stack:
        extract(home / "code")
        codes = {"now": ROOT, "before": home / "code"}
        sides = {name: stack.enter_context(_side(code, home / name)) for name, code in codes.items()}
        for side in sides.values():
            for request in (f"fill {num_trials}", "prepare_driver", "prepare_worker"):
                _ask(side, request)
        for name, title in OPERATIONS.items():
            now, before = _rounds(list(sides.values()), name)
            ratios = sorted(a / b for a, b in zip(now, before, strict=True))
            low, high = _interval(ratios)
            times = (f"{statistics.median(seconds):.3f}" for seconds in (now, before))
            table.add_row(title, *times, f"{statistics.median(ratios):.2f}", f"{low:.2f}-{high:.2f}", f"<= {AIM}")
    table.caption = f"medians of {ROUNDS} rounds, in which both sides take turns"
    return table


@contextmanager
def _side(code: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    home.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", **_KEPT_MEMORY}
    command = [sys.executable, "-P", str(Path(__file__).with_name("side.py")), str(home)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home
    ) as side:
        yield side


def _ask(side: subprocess.Popen[str], request: str) -> float:
    if side.stdin is None or side.stdout is None:
        raise ValueError("a side without pipes")
    side.stdin.write(f"{request}\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def _rounds(sides: list[subprocess.Popen[str]], request: str) -> list[list[float]]:
    """Return the seconds of each side in each round; the one that begins changes, and the first round warms up."""
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(1 + ROUNDS):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for index in order:
            seconds[index].append(_ask(sides[index], request))
    return [of_side[1:] for of_side in seconds]


def _interval(values: list[float]) -> tuple[float, float]:
    """Return between which of sorted values their median lies with a probability of at least 95 %, by the sign test."""
    num, tail, index = len(values), 0.0, 0
    while tail + comb(num, index) / 2**num <= 0.025:
        tail += comb(num, index) / 2**num
        index += 1
    lowest = max(index - 1, 0)
    return values[lowest], values[num - 1 - lowest]
