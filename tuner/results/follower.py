"""Follows a running sweep from another process; each refresh reads only what is new, so frequent ones are cheap."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from tuner.storage.journal import replaying
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import BASELINES, SEARCH, STATES, open_reader, record_of, run_of
from tuner.sweep.runs import Kind, Record

REFRESH_EVERY_S = 1.0
_STUDIES: dict[Kind, str] = {"baseline": BASELINES, "trial": SEARCH}
_Stamp = tuple[int, int]


class Follower:
    """Keeps the records of a sweep up to date with its folder. It writes nothing, and reads an ended run once."""

    def __init__(self, sweep: SweepFolder) -> None:
        self._sweep = sweep
        self._storage: JournalStorage | None = None
        self._studies: dict[Kind, Study] = {}
        self._seen: dict[tuple[Kind, int], tuple[Record, _Stamp | None]] = {}
        self.records: dict[str, Record] = {}
        self.refresh()

    @property
    def num_runs(self) -> int:
        """Number of runs that the sweep asks for, baselines included."""
        return self._sweep.num_runs

    def refresh(self) -> list[Record]:
        """Read what is new, and return the records that have changed."""
        changed = []
        self._open_studies()
        with replaying(self._sweep.study_place):
            trials = {kind: study.get_trials(deepcopy=False) for kind, study in self._studies.items()}
        self._sweep.store.pull(self._sweep.folder)  # afterwards: metrics may be newer than the study, never older
        for kind, of_kind in trials.items():
            for frozen in of_kind:
                record = self._changed_record(kind, frozen)
                if record is not None:
                    self.records[record.run.key] = record
                    changed.append(record)
        return changed

    def _changed_record(self, kind: Kind, frozen: FrozenTrial) -> Record | None:
        if "settings" not in frozen.user_attrs or frozen.state not in STATES:
            return None
        before, stamp = self._seen.get((kind, frozen.number), (None, None))
        if before is not None:
            if before.state != "running":
                return None
            now = _stamp(before.run.folder)
            if STATES[frozen.state] == "running" and now == stamp:
                return None
            stamp = now
        record = record_of(self._sweep, run_of(self._sweep, kind, frozen), frozen)
        self._seen[kind, frozen.number] = record, stamp
        return record if record != before else None

    def _open_studies(self) -> None:
        """Open the studies once they are there: a driver that has just begun has none yet."""
        if len(self._studies) == len(_STUDIES):
            return
        self._storage = self._storage or open_reader(self._sweep)
        if self._storage is None:
            return
        existing = {study.study_name for study in self._storage.get_all_studies()}
        self._studies = {
            kind: optuna.load_study(study_name=name, storage=self._storage)
            for kind, name in _STUDIES.items()
            if name in existing
        }


def _stamp(folder: Path) -> _Stamp | None:
    """Return modification time and size of a run's metrics file, which change with every row; None if there is none."""
    try:
        info = (folder / "metrics.jsonl").stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size
