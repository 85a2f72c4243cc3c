"""What one more trial costs in the ledger and in each sampler, by the number of earlier trials. No Ray."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from search_spaces.configurations import parse_space
from tests.benchmarks.slots import temporary_home
from tests.benchmarks.trivial import METRICS
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder

NUM_TRIALS = (100, 1000, 10000)
NUM_ASKS = 20
SAMPLERS = {"random": 10000, "qmc": 10000, "tpe": 10000, "nsga2": 10000, "gp": 1000}
"""The most trials that each sampler is measured with: the Gaussian process takes the cube of their number."""
SPACE = """
name: asks
trainable: gan
dataset: {{name: digits, validation: 200}}
budget: {{trials: 1, compute: 2}}
search: {{sampler: {sampler}}}
parameters:
  classifier: {{learning_rate: {{float: [1.0e-4, 1.0e-2], log: true}}}}
  generator:
    learning_rate: {{float: [1.0e-4, 1.0e-2], log: true}}
    perturbation_bound: {{float: [0.1, 0.5]}}
    image_gradient: {{choice: [none, sign, normalized]}}
"""


def measure() -> Table:
    """Fill a ledger trial by trial, and look at it at each number of trials."""
    table = Table(title="asks: milliseconds, median of each")
    columns = ("trials", "start and finish", "open, s", "journal, MB", *(f"ask {name}" for name in SAMPLERS))
    for name in columns:
        table.add_column(name, justify="right")
    with temporary_home() as home:
        sweep = SweepFolder.create("asks", SPACE.format(sampler="random"), "asks.yaml", home=home, num_trials=10**6)
        filled = 0
        for num in NUM_TRIALS:
            spent = _fill(Ledger(sweep), num - filled)
            filled = num
            started = time.perf_counter()
            Ledger(sweep)
            opened_s = time.perf_counter() - started
            asks = [_ask(sweep, sampler) if num <= most else "" for sampler, most in SAMPLERS.items()]
            size = sum(path.stat().st_size for path in sweep.folder.glob("study.journal*")) / 1e6
            table.add_row(f"{num}", f"{1000 * spent:.1f}", f"{opened_s:.2f}", f"{size:.1f}", *asks)
    return table


def _fill(ledger: Ledger, num: int) -> float:
    """Run so many trials through a ledger; return the median of what the last hundred took."""
    spent = []
    for index in range(num):
        started = time.perf_counter()
        run = ledger.next_run()
        if run is None:
            raise RuntimeError("the ledger starts no further run")
        ledger.complete(run.key, {**METRICS, "robust": (index * 7919 % 1000) / 1000})
        spent.append(time.perf_counter() - started)
    return statistics.median(spent[-100:])


def _ask(sweep: SweepFolder, sampler: str) -> str:
    """Return the milliseconds of starting one more trial, with a copy of the sweep whose space has the sampler."""
    copy = Path(f"{sweep.folder}-{sampler}")
    shutil.copytree(sweep.folder, copy)
    space = parse_space(SPACE.format(sampler=sampler), "asks.yaml")
    ledger = Ledger(replace(SweepFolder.open(copy.name, home=copy.parent), space=space))
    spent = []
    for _ in range(NUM_ASKS):
        started = time.perf_counter()
        ledger.next_run()
        spent.append(time.perf_counter() - started)
    shutil.rmtree(copy)
    return f"{1000 * statistics.median(spent):.0f}"
