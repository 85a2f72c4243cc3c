"""All sweeps' studies in a database as one storage to look at, which is what Optuna's dashboard takes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from tuner.database import StudyError, reader
from tuner.errors import UserError

_NEW = """SELECT sweep, name, content FROM tuner_sweeps LEFT JOIN unnest(%s::text[], %s::bigint[]) AS read (sweep, line)
    USING (sweep) CROSS JOIN LATERAL (SELECT journal.line, content FROM tuner_journal AS journal
    WHERE journal.sweep = tuner_sweeps.sweep AND journal.line >= coalesce(read.line, 0)) AS new
    ORDER BY sweep, new.line"""
_CREATE_STUDY, _CREATE_TRIAL = 0, 4  # of Optuna's `JournalOperation`


def all_studies(url: str) -> JournalStorage:
    """Return the studies of all sweeps in a database, to be read; each has its sweep's name before its own.

    Raises:
        UserError: the database cannot be reached.
    """
    return JournalStorage(_AllJournals(url))


@dataclass
class _Journal:
    """How far a sweep's journal has been read, and what its studies and trials are called among all others."""

    num_lines: int = 0
    studies: dict[str, int] = field(default_factory=dict)
    trials: list[int] = field(default_factory=list)


class _AllJournals(BaseJournalBackend):
    """One journal made of all: each numbers its own studies and trials from 0, so they are numbered anew."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._journals: defaultdict[str, _Journal] = defaultdict(_Journal)
        self._num_studies = self._num_trials = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Return what is new since the last time: there is one who asks."""
        for sweep, name, content in self._new():
            journal = self._journals[sweep]
            journal.num_lines += 1
            line = self._numbered(journal, f"{name} {sweep[:8]}", json.loads(content))
            if line is not None:
                yield line

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse: a study is written by its sweep's driver alone."""
        raise PermissionError("studies are to be looked at here; a sweep's driver writes them")

    def _new(self) -> list[tuple[str, str, str]]:
        read = {sweep: journal.num_lines for sweep, journal in self._journals.items()}
        try:
            return reader(self._url).run(
                lambda connection: connection.execute(_NEW, (list(read), list(read.values()))).fetchall()
            )
        except psycopg.errors.UndefinedTable:  # no sweep has begun yet
            return []
        except (psycopg.Error, StudyError) as error:
            raise UserError(f"the studies cannot be read: {error}") from error

    def _numbered(self, journal: _Journal, owner: str, line: dict[str, Any]) -> dict[str, Any] | None:
        """Return a line with numbers that no other journal has; None for a study that is there already."""
        if line["op_code"] == _CREATE_STUDY:
            name = line["study_name"]
            if name in journal.studies:  # a driver makes sure of them whenever it begins
                return None
            journal.studies[name] = self._num_studies
            self._num_studies += 1
            return {**line, "study_name": f"{owner}: {name}"}
        numbered = dict(line)
        if "study_id" in line:
            numbered["study_id"] = list(journal.studies.values())[line["study_id"]]
        if "trial_id" in line:
            numbered["trial_id"] = journal.trials[line["trial_id"]]
        if line["op_code"] == _CREATE_TRIAL:
            journal.trials.append(self._num_trials)
            self._num_trials += 1
        return numbered
