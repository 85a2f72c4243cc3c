"""Packs: several runs in one process that share a device in turns.

On a GPU each run has CUDA graphs and a stream of its own, so that runs of small networks compute at the same time. The
numbers of a run are those that it has alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
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
        self.at_turn: str | None = None
        """Name of the run whose turn it is."""
        self._runs: dict[str, tuple[TrainingLoop, Generator[Reading | None, None, dict[str, float]]]] = {}
        self._contexts: dict[str, Callable[[], AbstractContextManager[object]]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, name: str) -> bool:
        return name in self._runs

    def enter(
        self, name: str, loop: TrainingLoop, turn: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        """Add a run, fresh or restored.

        Args:
            name: of the run.
            loop: trains it.
            turn: returns the context that each of its turns is in.

        Raises:
            ValueError: a run of that name is there.
        """
        if name in self._runs:
            raise ValueError(f"names of runs must differ: {name} is in the pack")
        self._runs[name] = (loop, loop.advance())
        self._contexts[name] = turn

    def leave(self, name: str) -> None:
        """Take a run out; what it trained since its last report is lost.

        Raises:
            KeyError: no run of that name is there.
        """
        loop, _ = self._runs.pop(name)
        del self._contexts[name]
        loop.updates.finish()

    def turn(self) -> list[Outcome]:
        """Let every run take some updates; return those that reported or ended, of which done and failed ones leave.

        A run that waits for numbers from the device takes none; if all do, the host sleeps for a moment.
        """
        self._is_waiting = True
        outcomes = [self._advance(name) for name in tuple(self._runs)]
        self.at_turn = None
        if self._is_waiting:
            time.sleep(_PAUSE_S)
        return [outcome for outcome in outcomes if outcome is not None]

    def _advance(self, name: str) -> Outcome | None:
        loop, report = self._runs[name]
        self.at_turn = name
        try:
            with self._contexts[name](), loop.updates.active():
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
