"""Speed, as ratios measured in one run: ``python -m tests.benchmarks [NAME ...]``; ``make bench`` for the short ones.

``python -m tests.benchmarks search --help``, ``front`` and ``converged``: these have options of their own.

Nothing fails when a machine is slow or busy: each table shows what was aimed at beside what was measured.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console

from tests.benchmarks import (
    asks,
    attack_speed,
    bodies,
    commits,
    objective,
    overhead,
    scale,
    search,
    slots,
    start,
    storage,
    trainers,
    updates,
)
from tests.benchmarks.search import convergence, fronts, prior_draws

BENCHMARKS = {
    "start": start.measure,
    "slots": slots.measure,
    "updates": updates.measure,
    "commits": commits.measure,
    "overhead": overhead.measure,
    "asks": asks.measure,
    "attacks": attack_speed.measure,
    "objective": objective.measure,
    "trainers": trainers.measure,
    "bodies": bodies.measure,
    "priors": prior_draws.measure,
    "storage": storage.measure,
    "scale": scale.measure,
}
WITH_OPTIONS = {"search": search.main, "front": fronts.main, "converged": convergence.main}
"""Those that have options of their own, and are run alone."""
LONG = {"objective", "priors", "scale", "storage"}
"""Benchmarks that take many minutes: only by name."""


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all that are not long."""
    console = Console()
    if names and names[0] in WITH_OPTIONS:
        return WITH_OPTIONS[names[0]](names[1:], console)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        console.print(
            f"unknown benchmark {', '.join(unknown)}: choose from {', '.join([*BENCHMARKS, 'search'])}", style="red"
        )
        return 2
    for name in names or [name for name in BENCHMARKS if name not in LONG]:
        started = time.monotonic()
        table = BENCHMARKS[name]()
        console.print(table)
        console.print(f"{name}: {time.monotonic() - started:.0f} s\n", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
