"""Packs: several runs in one process that share a device in turns.

On a GPU each run has CUDA graphs and a stream of its own, so that runs of small networks compute at the same time. The
numbers of a run are those that it has alone.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

from trainables.training.loop import TrainingLoop
from trainables.training.machine.reading import Reading

UPDATES_PER_TURN = 16
"""So many updates wait on the device's queue for each run while the host is busy with the others."""

_PAUSE_S = 1e-4
"""How long the host sleeps where all runs wait for the device."""


@dataclass(frozen=True)
class Outcome:
    """What a run has come to: a report, or an error that ended it.

    Attributes:
        name: of the run.
        metrics: of its report, see `TrainingLoop.step`; None if an error ended it. The seconds among them are those of
            the clock, and the other runs' turns count.
        error: what ended it, None for a report.
    """

    name: str
    metrics: dict[str, float] | None = None
    error: Exception | None = None


class Pack:
    """Runs that take turns; they may enter and leave at any time, and one that ends does not touch the others."""

    def __init__(self, updates_per_turn: int = UPDATES_PER_TURN) -> None:
        self._updates_per_turn = updates_per_turn
        self._is_waiting = True
        self._runs: dict[str, tuple[TrainingLoop, Generator[Reading | None, None, dict[str, float]]]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def enter(self, name: str, loop: TrainingLoop) -> None:
        """Add a run, fresh or restored.

        Raises:
            ValueError: a run of that name is there.
        """
        if name in self._runs:
            raise ValueError(f"names of runs must differ: {name} is in the pack")
        self._runs[name] = (loop, loop.advance())

    def leave(self, name: str) -> None:
        """Take a run out; what it trained since its last report is lost.

        Raises:
            KeyError: no run of that name is there.
        """
        loop, _ = self._runs.pop(name)
        loop.updates.finish()

    def turn(self) -> list[Outcome]:
        """Let every run take some updates; return those that reported or ended, of which done and failed ones leave.

        A run that waits for numbers from the device takes none; if all do, the host sleeps for a moment.
        """
        self._is_waiting = True
        outcomes = [self._advance(name) for name in tuple(self._runs)]
        if self._is_waiting:
            time.sleep(_PAUSE_S)
        return [outcome for outcome in outcomes if outcome is not None]

    def _advance(self, name: str) -> Outcome | None:
        loop, report = self._runs[name]
        try:
            with loop.updates.active():
                for _ in range(self._updates_per_turn):
                    if next(report) is not None:
                        return None
                    self._is_waiting = False
        except StopIteration as end:
            self._is_waiting = False
            if loop.done:
                self.leave(name)
            else:
                self._runs[name] = (loop, loop.advance())
            return Outcome(name, metrics=end.value)
        except Exception as error:  # whatever a run raises ends that run alone
            self._is_waiting = False
            self.leave(name)
            return Outcome(name, error=error)
        return None
