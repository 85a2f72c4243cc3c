"""The packs of a driver: starts and ends their actors, and decides in which one a run trains.

A run in whose pack the process has died twice since its last report gets no new neighbours: if it is the run that kills
its pack, it does so alone in the end, and has failed. A run that found too little memory beside others costs its pack a
seat once; from the second time on it trains alone.

A pack that has died is replaced; its runs are handed out again, as those of a machine that has died are. A pack that is
to end, because its machine goes or another sweep gets its share, lets its runs go at their next reports. One that
waits for a machine which the cluster does not have yet gets no runs: they would wait with it.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray

from trainables.worker.pack_server import PackedRun, PackServer
from tuner.cluster.ray_internals import node_of_actor
from tuner.execution.ray_tune.gpu_plan import RunResources

_LOOK_EVERY_S = 1.0
_AT_TURN_S = 2.0
_SUSPECT_AFTER = 2  # deaths of packs since its last report: then a run shares no pack any more
_ALONE_AFTER = 2  # times that a run had too little memory beside others
_MOST_CALLS = 10_000  # at the same time: each of a pack's runs waits for a report


class PackActor(Protocol):
    """A pack on a cluster."""

    name: str

    def has_started(self) -> bool:
        """Return whether it has a machine, and runs may train in it."""
        ...

    def has_died(self) -> bool:
        """Return whether its process is no more, or its machine."""
        ...

    def is_on(self, nodes: Collection[str]) -> bool:
        """Return whether it is on one of some machines, by the ids of their nodes."""
        ...

    def retain(self, keys: Collection[str]) -> None:
        """See `PackServer.retain`."""
        ...

    def lose_seat(self) -> None:
        """See `PackServer.lose_seat`."""
        ...

    def at_turn(self) -> str | None:
        """See `PackServer.at_turn`; None if it does not answer."""
        ...

    def kill(self) -> None:
        """End its process at once."""
        ...


@dataclass
class _Pack:
    actor: PackActor
    seats: int
    keys: set[str] = field(default_factory=set)
    accompanied: set[str] = field(default_factory=set)  # of the keys: not alone at some time since the last report
    is_leaving: bool = False
    is_waiting: bool = False


class Packs:
    """The packs of a driver; everything is called in its main thread.

    Args:
        seats: how many runs train in a pack at a time.
        start: starts the actor of another pack.
        num_packs: returns how many packs there may be now, at least 1.
        leaving: returns the machines that are about to be taken away, by the ids of their nodes.
        is_running: returns whether a run has started, and has neither ended nor been requeued.
        clock: returns the time in seconds.
        num_fitting: returns how many packs the machines of the cluster hold, at least 1; by default as many as may be.
    """

    def __init__(
        self,
        seats: int,
        start: Callable[[], PackActor],
        num_packs: Callable[[], int],
        leaving: Callable[[], Collection[str]] = frozenset,
        is_running: Callable[[str], bool] = lambda key: True,
        clock: Callable[[], float] = time.monotonic,
        num_fitting: Callable[[], int] | None = None,
    ) -> None:
        self.is_running = is_running
        self._seats, self._start = seats, start
        self._num_packs, self._leaving = num_packs, leaving
        self._num_fitting = num_fitting or num_packs
        self._clock = clock
        self._looked_at = -_LOOK_EVERY_S
        self._packs: dict[str, _Pack] = {}
        self._deaths: Counter[str] = Counter()
        self._short_of_memory: Counter[str] = Counter()
        self._lost_with: dict[str, int] = {}

    @property
    def num_seats(self) -> int:
        """How many runs may be in packs now; at least 1."""
        seats = (len(pack.keys) + self._num_free(pack) for pack in self._packs.values() if not pack.is_leaving)
        return max(sum(seats), 1)

    def look(self) -> None:
        """Take note of packs that have died, and start or end packs; does nothing if it was called just before."""
        if self._clock() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = self._clock()
        self._forget_ended()
        for pack in [pack for pack in self._packs.values() if pack.actor.has_died()]:
            self._bury(pack)
        num, going = self._num_packs(), self._leaving()
        stable = sorted(self._packs.values(), key=lambda pack: (not pack.actor.has_started(), -len(pack.keys)))
        kept = [pack for pack in stable if not (going and pack.actor.is_on(going))][:num]
        held = kept[: self._num_fitting()]
        for pack in stable:
            pack.is_leaving = not any(pack is one for one in kept)
            has_started = pack.actor.has_started()
            pack.is_waiting = not has_started and not any(pack is one for one in held)
            if (pack.is_leaving and not (pack.keys and has_started)) or (pack.is_waiting and pack.keys):
                self.kill(pack.actor.name)
            elif has_started:
                pack.actor.retain(sorted(pack.keys))
        staying = sum(not pack.is_leaving for pack in self._packs.values())
        for number in range(staying, num):
            self._add().is_waiting = number >= self._num_fitting()

    def assign(self, key: str) -> str:
        """Give a run that has just started a seat, and return the name of its pack.

        That is the one with the most free seats, rather among those that have started. At most `num_seats` runs are
        running, this one included.
        """
        for pack in self._packs.values():
            pack.keys.discard(key)
            pack.accompanied.discard(key)
        self._forget_ended()
        free = [pack for pack in self._packs.values() if self._num_free(pack) > 0] or [self._add()]
        is_apart = self._is_apart(key)
        best = max(free, key=lambda pack: (is_apart and not pack.keys, pack.actor.has_started(), self._num_free(pack)))
        best.keys.add(key)
        if len(best.keys) > 1:
            best.accompanied |= {each for each in best.keys if not self.is_alone(each)}
        return best.actor.name

    def is_alone(self, key: str) -> bool:
        """Return whether a run waits in its pack until it is alone there: it needs more memory than others leave."""
        return self._short_of_memory[key] >= _ALONE_AFTER

    def heard_of(self, key: str) -> None:
        """Note that a run has reported."""
        self._deaths.pop(key, None)
        pack = self._pack_of(key)
        if pack is not None and len(pack.keys) == 1:
            pack.accompanied.clear()

    def lost(self, key: str) -> bool:
        """Note that a run's pack has died under it; return whether no other run was there."""
        pack = self._pack_of(key)
        if pack is not None:
            self._bury(pack)
        return self._lost_with.pop(key, 0) == 1

    def is_leaving(self, key: str) -> bool:
        """Return whether a run's pack lets it go at its next report."""
        pack = self._pack_of(key)
        return pack is not None and pack.is_leaving

    def lose_seat(self, key: str) -> bool:
        """Have one seat fewer in a run's pack, whose device has too little memory; return whether the run may go on.

        It may unless it was alone there since its last report: then it has had all memory of the pack. From the second
        time on it costs no seat: the run is alone then, see `is_alone`.
        """
        pack = self._pack_of(key)
        if pack is None or key not in pack.accompanied:
            return False
        pack.accompanied.discard(key)
        self._short_of_memory[key] += 1
        if pack.seats > 1 and not self.is_alone(key):
            pack.seats -= 1
            pack.actor.lose_seat()
        return True

    def at_turn(self, key: str) -> str:
        """Return the run of a run's pack that computes right now; by default that run itself."""
        pack = self._pack_of(key)
        return (pack.actor.at_turn() if pack is not None else None) or key

    def kill(self, name: str) -> None:
        """End a pack at once; its runs are lost to their trials, as if its machine had died."""
        pack = self._packs.pop(name, None)
        if pack is not None:
            pack.actor.kill()

    def kill_of(self, key: str) -> None:
        """End the pack of a run at once."""
        pack = self._pack_of(key)
        if pack is not None:
            self.kill(pack.actor.name)

    def close(self) -> None:
        """End all packs."""
        for name in tuple(self._packs):
            self.kill(name)

    def _add(self) -> _Pack:
        actor = self._start()
        self._packs[actor.name] = pack = _Pack(actor, self._seats)
        return pack

    def _pack_of(self, key: str) -> _Pack | None:
        return next((pack for pack in self._packs.values() if key in pack.keys), None)

    def _bury(self, pack: _Pack) -> None:
        """Note for each of its runs that a pack has died; one that is only out of reach is not to come back."""
        self.kill(pack.actor.name)
        self._deaths.update(pack.keys)
        self._lost_with.update(dict.fromkeys(pack.keys, len(pack.keys)))

    def _is_apart(self, key: str) -> bool:
        """Return whether a run gets no new neighbours."""
        return self._deaths[key] >= _SUSPECT_AFTER or self.is_alone(key)

    def _num_free(self, pack: _Pack) -> int:
        if pack.is_leaving or pack.is_waiting or any(self._is_apart(key) for key in pack.keys):
            return 0
        return pack.seats - len(pack.keys)

    def _forget_ended(self) -> None:
        for pack in self._packs.values():
            pack.keys = {key for key in pack.keys if self.is_running(key)}


class RayPack:
    """A pack as an actor of Ray's, which ends with the driver."""

    def __init__(self, resources: RunResources, work: type[PackedRun]) -> None:
        """Start it: Ray gives it a machine as soon as there is one.

        Args:
            resources: of the pack, and how many runs train in it at a time.
            work: does the work at one run.
        """
        self.name = f"pack-{uuid.uuid4().hex}"
        options = {"num_cpus": resources.cpu, "num_gpus": resources.gpu, "max_concurrency": _MOST_CALLS}
        actor: Any = ray.remote(PackServer).options(name=self.name, max_restarts=0, max_task_retries=0, **options)
        self._actor = actor.remote(resources.pack, resources.gpu, work)
        self._started = self._actor.started.remote()
        self._lasting = self._actor.lasting.remote()
        self._is_started = False

    def has_started(self) -> bool:
        """See `PackActor`."""
        self._is_started = self._is_started or bool(ray.wait([self._started], timeout=0)[0])
        return self._is_started

    def has_died(self) -> bool:
        """See `PackActor`."""
        return bool(ray.wait([self._lasting], timeout=0)[0])

    def is_on(self, nodes: Collection[str]) -> bool:
        """See `PackActor`."""
        return node_of_actor(self._actor) in nodes

    def retain(self, keys: Collection[str]) -> None:
        """See `PackActor`."""
        self._actor.retain.remote(list(keys))

    def lose_seat(self) -> None:
        """See `PackActor`."""
        self._actor.lose_seat.remote()

    def at_turn(self) -> str | None:
        """See `PackActor`."""
        try:
            key: str | None = ray.get(self._actor.at_turn.remote(), timeout=_AT_TURN_S)
        except ray.exceptions.RayError:
            return None
        return key

    def kill(self) -> None:
        """See `PackActor`."""
        ray.kill(self._actor)
