"""Runs searches, several at once, and keeps what became of them in a file, so that a later call goes on from it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.benchmarks.search.sides import make_searcher
from tests.benchmarks.search.simulation import Outcome, simulate
from tests.benchmarks.search.tables import CurveTable

Key = tuple[str, int, str, int]
"""Table, workers, side, seed."""
Outcomes = dict[Key, Outcome]
_AT_ONCE = 16  # searches that are handed to a process together

_tables: Mapping[str, CurveTable] = {}


def read_outcomes(path: Path | None) -> Outcomes:
    """Return the outcomes that a file keeps; none if it does not exist."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {(row["table"], row["workers"], row["side"], row["seed"]): Outcome.of_row(row) for row in rows}


def run_searches(
    tables: Mapping[str, CurveTable], keys: Iterable[Key], path: Path | None, *, processes: int, minutes: float
) -> Outcomes:
    """Run the searches that a file does not keep yet, add them to it, and return the outcomes of all in it.

    Args:
        tables: by name.
        keys: what to run.
        path: of the file; None keeps nothing.
        processes: how many searches run at once.
        minutes: after so long no further search begins.
    """
    outcomes = read_outcomes(path)
    missing = [key for key in keys if key not in outcomes]
    end = time.monotonic() + 60 * minutes
    for key, outcome in _run(tables, missing, processes, end):
        outcomes[key] = outcome
        if path is not None:
            row = dict(zip(("table", "workers", "side", "seed"), key, strict=True))
            with path.open("a") as file:
                file.write(json.dumps(row | outcome.as_row()) + "\n")
    return outcomes


def _run(
    tables: Mapping[str, CurveTable], keys: list[Key], processes: int, end: float
) -> Iterator[tuple[Key, Outcome]]:
    if processes == 1:
        _take_tables(dict(tables))
        yield from ((key, _search(key)) for key in itertools.takewhile(lambda _: time.monotonic() < end, keys))
        return
    with ProcessPoolExecutor(processes, initializer=_take_tables, initargs=(dict(tables),)) as pool:
        for begin in range(0, len(keys), _AT_ONCE * processes):
            some = keys[begin : begin + _AT_ONCE * processes]
            if time.monotonic() > end:
                return
            yield from zip(some, pool.map(_search, some), strict=True)


def _take_tables(tables: dict[str, CurveTable]) -> None:
    global _tables  # noqa: PLW0603 - of a process of its own
    _tables = tables


def _search(key: Key) -> Outcome:
    name, workers, side, seed = key
    table = _tables[name]
    return simulate(make_searcher(side, table, seed), table, workers)
