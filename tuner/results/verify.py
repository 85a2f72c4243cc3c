"""Checks every file of a sweep that can be checked: checksums, types, and that files agree with one another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

from trainables.common.words import counted
from trainables.config.plugins.wheels import check_kept
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.storage.driver_lock import read_owner
from tuner.storage.observations import read_observations
from tuner.sweep.evaluations import EVALUATION_FILES, read_evaluation
from tuner.sweep.folder import WARM_START, SweepFolder
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot, read_snapshot


@dataclass(frozen=True)
class Verification:
    """What was checked of a sweep.

    Attributes:
        sweep: its name.
        runs: number of runs whose metrics were read.
        checkpoints: number of complete runs whose last checkpoint was read.
        problems: what is wrong with a file and what to do about it, each as text; none if nothing is.
    """

    sweep: str
    runs: int
    checkpoints: int
    problems: tuple[str, ...]

    def to_json(self) -> str:
        """Return what ``tuner verify --format json`` prints."""
        return json.dumps(asdict(self), indent=2)

    @property
    def lines(self) -> list[str]:
        """A line for each problem, and one that sums up."""
        what = f"{counted(self.runs, 'run')} and {counted(self.checkpoints, 'checkpoint')} checked"
        num = len(self.problems)
        result = counted(num, "problem") if num else "nothing is damaged"
        return [" ".join(problem.split()) for problem in self.problems] + [f"{self.sweep}: {result}; {what}"]


def verify_sweep(name: str, home: SweepStore) -> Verification:
    """Check the files of a sweep: its settings and space, study, metrics, checkpoints and results.

    Args:
        name: of the sweep.
        home: the store of all sweeps.
    """
    try:
        sweep = SweepFolder.open(name, home=home)
        snapshot = read_snapshot(sweep, with_rows=True, with_evaluations=True)
    except UserError as error:
        return Verification(name, 0, 0, (str(error),))
    complete = [
        record
        for record in (*snapshot.records, *snapshot.confirming_records)
        if record.state == "complete" and not record.is_damaged
    ]
    checks = [*_checks_of_sweep(sweep, snapshot), *(_check_checkpoint(sweep, record) for record in complete)]
    found = [*snapshot.problems, *(problem for check in checks if (problem := _problem(check)))]
    return Verification(name, len(snapshot.rows), len(complete), tuple(dict.fromkeys(found)))


def _checks_of_sweep(sweep: SweepFolder, snapshot: Snapshot) -> Iterator[Callable[[], object]]:
    yield sweep.check_space
    yield lambda: read_owner(sweep.folder, sweep.id)
    yield sweep.read_provenance
    yield sweep.read_code
    yield lambda: check_kept(sweep.space.code, sweep.folder, sweep.store.fetch)
    yield lambda: read_observations(sweep.folder / WARM_START, sweep.id)
    for record in (*snapshot.records, *snapshot.confirming_records):
        for tier in EVALUATION_FILES:
            yield partial(read_evaluation, record.run, tier)


def _check_checkpoint(sweep: SweepFolder, record: Record) -> Callable[[], object]:
    return lambda: sweep.last_checkpoint(record).load()


def _problem(check: Callable[[], object]) -> str:
    """Return what a check raises, empty if nothing."""
    try:
        check()
    except (UserError, OSError) as error:
        return str(error)
    return ""
