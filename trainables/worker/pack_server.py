"""The actor that owns a device and trains the runs of a pack on it; trials ask it for one report after the other.

The runs take turns in one thread (`Turns`). Asking, saving checkpoints and leaving happen beside it, so that no run
waits for another one's disk. A run has its place (a seat) from its first report to its last, or until it is stopped;
between two reports it trains nothing, because the driver may stop it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from trainables.evaluation.metrics import PACK
from trainables.training.loop import TrainingLoop
from trainables.worker import device
from trainables.worker.context import RunTask
from trainables.worker.fencing import FencedError
from trainables.worker.pack import Outcome, Pack
from trainables.worker.packages import ensure_packages
from trainables.worker.work import RunWork

Result = TypeVar("Result")


class LeftError(RuntimeError):
    """The run was taken out of the pack before it reported."""


class Turns:
    """A thread in which runs take turns."""

    def __init__(self) -> None:
        self._pack = Pack()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._reports: dict[str, Future[Outcome]] = {}
        self._thread = threading.Thread(target=self._take_turns, name="pack", daemon=True)
        self._thread.start()

    @property
    def at_turn(self) -> str | None:
        """Name of the run whose turn it is."""
        return self._pack.at_turn

    def call(self, function: Callable[[], Result]) -> Future[Result]:
        """Call a function in the thread, between two turns."""
        future: Future[Result] = Future()
        self._calls.put((future, function))
        return future

    def train(
        self, name: str, loop: TrainingLoop, turn: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> Future[Outcome]:
        """Let a run take turns until its next report; see `Pack.enter`.

        Returns:
            The report, or what ended the run; `LeftError` if it leaves before.
        """
        report: Future[Outcome] = Future()

        def enter() -> None:
            try:
                self._pack.enter(name, loop, turn)
                self._reports[name] = report
            except Exception as error:
                report.set_exception(error)

        self.call(enter)
        return report

    def leave(self, name: str) -> Future[None]:
        """Take a run out if it is in; what it has trained since its last report is lost."""

        def leave() -> None:
            if name in self._pack:
                self._pack.leave(name)
                self._reports.pop(name).set_exception(LeftError(name))

        return self.call(leave)

    def end(self) -> None:
        """End the thread, with what is in the pack."""
        self._calls.put(None)
        self._thread.join()

    def _take_turns(self) -> None:
        while True:
            while not self._calls.empty() or not len(self._pack):
                asked = self._calls.get()
                if asked is None:
                    return
                _answer(*asked)
            for outcome in self._pack.turn():
                if outcome.name in self._pack:  # it may train on when it is asked again
                    self._pack.leave(outcome.name)
                self._reports.pop(outcome.name).set_result(outcome)


def _answer(future: Future[Any], function: Callable[[], Any]) -> None:
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


class PackedRun(RunWork):
    """The work at one run of a pack."""

    def __init__(self, task: RunTask, own_device: str, gpu_share: float, memory_share: float) -> None:
        """Take over a run.

        Args:
            task: the run.
            own_device: of the pack.
            gpu_share: what the run occupies of a GPU.
            memory_share: what the pack may take of a GPU's memory.
        """
        self._device, self._gpu_share, self._pack_share = own_device, gpu_share, memory_share
        self._take(task)

    @property
    def _memory_share(self) -> float:
        return self._pack_share

    def _gpu_metrics(self) -> dict[str, float]:
        places = {PACK: round(self._pack_share / self._gpu_share)} if self._gpu_share else {}
        return {**super()._gpu_metrics(), **places}

    def begin(self) -> dict[str, Any] | None:
        """Start from the newest checkpoint; return the result that it holds, None if the run has not reported yet.

        Raises:
            FencedError: a later attempt at the run has begun.
            UserError: this node has not the packages that the sweep was launched with.
        """
        ensure_packages(self._run.settings.get("code", {}), self._run.context.sweep_place)
        try:
            with self._log.capture():
                loop = self._loop = self._start()
        except Exception as error:  # whatever a run raises is its result
            return self._failed_by(error)
        finally:
            self._log.keep()
        return self._result(loop, self._replay) if self._replay else None

    @property
    def _begun(self) -> TrainingLoop:
        if self._loop is None:
            raise RuntimeError("the run has not begun, or has ended")
        return self._loop

    def next_report(self) -> TrainingLoop:
        """Return the loop that is to be trained until its next report."""
        return self._begun

    def turn(self) -> AbstractContextManager[None]:
        """Return the context of a turn, in which what is printed goes to the run's log."""
        return self._log.capture()

    def finish_report(self, outcome: Outcome) -> dict[str, Any]:
        """Return the result of training until a report, which is saved in a checkpoint.

        Raises:
            FencedError: a later attempt at the run has begun.
        """
        try:
            if outcome.error is not None:
                return self._failed_by(outcome.error)
            loop = self._begun
            return self._result(loop, self._keep(loop, outcome.metrics or {}))
        except Exception as error:
            return self._failed_by(error)
        finally:
            self._log.keep()

    def end(self) -> None:
        """Leave the run as it is."""
        self._loop = None
        self._let_go()


@dataclass
class _Seat:
    key: str
    attempt: str
    work: PackedRun
    is_alone: bool = False
    is_asked: bool = True
    has_left: bool = False

    @property
    def name(self) -> str:
        """What the run is called in its turns."""
        return f"{self.key} {self.attempt}"


class PackServer:
    """A pack: so many seats for runs on one device. An actor whose methods are coroutines.

    Args:
        seats: how many runs train at a time.
        gpu: what the pack occupies of a GPU.
        work: does the work at one run.
    """

    def __init__(self, seats: int, gpu: float = 0.0, work: type[PackedRun] = PackedRun) -> None:
        self._num_seats, self._share = seats, gpu / seats
        self._gpu, self._device = gpu, device.own_device(gpu)
        self._work = work
        self._turns = Turns()
        self._seats: dict[str, _Seat] = {}
        self._latest: dict[str, str] = {}
        self._has_changed = asyncio.Condition()

    async def started(self) -> None:
        """Do nothing: whoever waits for this knows that the actor is there."""

    async def lasting(self) -> None:
        """Never return: whoever waits for this learns of the actor's end."""
        await asyncio.Event().wait()

    async def report(self, config: dict[str, Any], attempt: str) -> dict[str, Any]:
        """Train a run until its next report and return its result, see `RunWork`.

        A run that this attempt has not begun yet takes a seat, as soon as there is one, and goes on from its
        checkpoint; it first repeats its last report.

        Args:
            config: see `RunTask.to_config`.
            attempt: name of the attempt at the run that asks; what an earlier one has begun, leaves.

        Raises:
            FencedError: a later attempt at the run has begun.
            LeftError: the run was taken out meanwhile.
            UserError: this node has not the packages that the sweep was launched with.
        """
        task = RunTask.from_config(config)
        seat = self._seats.get(task.key)
        try:
            if seat is not None and seat.attempt == attempt:
                seat.is_asked, result = True, None
            else:
                seat = await self._take_seat(task, attempt)
                result = await self._between_turns(seat.work.begin)
            self._check_seated(seat)
            if result is None:
                loop = seat.work.next_report()
                outcome = await asyncio.wrap_future(self._turns.train(seat.name, loop, seat.work.turn))
                if outcome.error is None:
                    result = await asyncio.to_thread(seat.work.finish_report, outcome)
                else:  # nothing waits for the device, or empties its cache, while another thread records a graph
                    result = await self._between_turns(lambda: seat.work.finish_report(outcome))
                self._check_seated(seat)
        except Exception:
            if seat is not None and seat.attempt == attempt and not seat.has_left:
                await self._vacate(seat)
            raise
        if result.get("failure") == "error" and await self._between_turns(lambda: device.is_lost(self._device)):
            os._exit(1)  # it fails whatever is asked of it from now on: all runs go on in another process
        seat.is_asked = False
        if "failure" in result or result["finished"]:
            await self._vacate(seat)
        return result

    async def leave(self, key: str, attempt: str) -> None:
        """Take a run out that an attempt has begun, if it is still there."""
        seat = self._seats.get(key)
        if seat is not None and seat.attempt == attempt:
            await self._vacate(seat)

    async def retain(self, keys: Collection[str]) -> None:
        """Take out the runs that are not among these, and of which no report is asked: their trials have died."""
        for seat in tuple(self._seats.values()):
            if seat.key not in keys and not seat.is_asked:
                await self._vacate(seat)

    async def lose_seat(self) -> None:
        """Have one seat fewer from now on, of at least one."""
        self._num_seats = max(self._num_seats - 1, 1)

    async def at_turn(self) -> str | None:
        """Return the key of the run that computes right now; None if none does."""
        name = self._turns.at_turn
        return next((seat.key for seat in self._seats.values() if seat.name == name), None)

    @staticmethod
    def _check_seated(seat: _Seat) -> None:
        """Raise if a run was taken out meanwhile: what it was at has not come to its end."""
        if seat.has_left:
            raise LeftError(seat.name)

    async def _between_turns(self, function: Callable[[], Result]) -> Result:
        return await asyncio.wrap_future(self._turns.call(function))

    async def _take_seat(self, task: RunTask, attempt: str) -> _Seat:
        """Wait for a seat and take it; an earlier attempt at the run leaves."""
        key = task.key
        self._latest[key] = attempt
        if key in self._seats:
            await self._vacate(self._seats[key])
        async with self._has_changed:
            await self._has_changed.wait_for(lambda: self._has_seat(task) or self._latest.get(key) != attempt)
            if self._latest.get(key) != attempt:
                raise FencedError(f"a later attempt at {key} has begun")
            work = self._work(task, self._device, self._share, self._gpu)
            seat = self._seats[key] = _Seat(key, attempt, work, task.is_alone)
            return seat

    def _has_seat(self, task: RunTask) -> bool:
        """Return whether there is a seat for a run now, and nobody beside it who is to be alone."""
        if task.is_alone or any(seat.is_alone for seat in self._seats.values()):
            return not self._seats
        return len(self._seats) < self._num_seats

    async def _vacate(self, seat: _Seat) -> None:
        if self._seats.get(seat.key) is not seat:
            return
        seat.has_left = True
        await asyncio.wrap_future(self._turns.leave(seat.name))
        await asyncio.to_thread(seat.work.end)
        async with self._has_changed:
            if self._seats.get(seat.key) is seat:
                del self._seats[seat.key]
            if self._latest.get(seat.key) == seat.attempt:
                del self._latest[seat.key]
            self._has_changed.notify_all()

    def close(self) -> None:
        """End the thread of the runs."""
        self._turns.end()
