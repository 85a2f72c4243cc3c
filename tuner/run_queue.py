"""What is executed: the narrow side of a ledger that those who run it and those who watch it know."""

from __future__ import annotations

from typing import Protocol

from tuner.records import Record, Run


class RunQueue(Protocol):
    """Hands out runs, and takes in what they report. One driver at a time: its caller holds the sweep's lock."""

    records: dict[str, Record]

    @property
    def num_runs(self) -> int:
        """Runs that are asked for."""
        ...

    def next_run(self) -> Run | None:
        """Return the next run, unfinished ones first; None when all are handed out."""
        ...

    def put_back(self, key: str) -> None:
        """Take back a run that is not trained any further now; it is handed out again, from its checkpoint."""
        ...

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Take in the metrics of one report; return False if the run is to stop here."""
        ...

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Take in the last metrics of a run that has spent its compute."""
        ...

    def fail(self, key: str, reason: str) -> None:
        """Say that a run cannot go on, and why."""
        ...
