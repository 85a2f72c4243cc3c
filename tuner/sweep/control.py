"""Steering a driver from elsewhere: a request is a file in the sweep's folder, which the driver takes, once.

Whoever reaches the folder reaches the driver, from any machine. What the driver is about lies beside it as its phase;
both mean nothing once the sweep's lock is free, and the next driver removes what the last one left.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Literal, get_args

from tuner.errors import UserError
from tuner.sweep.folder import SweepFolder

Request = Literal["stop", "pause", "resume"]
Phase = Literal["running", "pausing", "paused", "stopping", "stopped"]

_FORMAT = 1
_REQUEST, _PHASE = "request.json", "phase.json"
_STEPS: tuple[tuple[Phase, Request, Phase], ...] = (
    ("running", "stop", "stopping"),
    ("running", "pause", "pausing"),
    ("pausing", "stop", "stopping"),
    ("paused", "stop", "stopping"),
    ("paused", "resume", "running"),
)
_LOOK_EVERY_S = 0.5
_ASK_STORE_EVERY_S = 2.0
_ANSWER_S = 10.0


def ask(sweep: SweepFolder, request: Request) -> None:
    """Leave a request for the driver of a sweep; one that it has not taken yet is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    by = {"pid": os.getpid(), "host": socket.gethostname()}
    sweep.store.write_json(sweep.folder / _REQUEST, {"format": _FORMAT, "request": request, "by": by})


def phase_of(sweep: SweepFolder) -> Phase:
    """Return the phase of a sweep's driver as the driver last wrote it; ``running`` if it has written none."""
    with contextlib.suppress(OSError):
        sweep.store.fetch(sweep.folder / _PHASE)
    try:
        phase = json.loads((sweep.folder / _PHASE).read_bytes())["phase"]
    except (OSError, ValueError, LookupError, TypeError):
        return "running"
    return phase if phase in get_args(Phase) else "running"


def ask_driver(sweep: SweepFolder, request: Request) -> bool:
    """Ask a sweep's driver for something; return whether it has heard, for which it gets ten seconds.

    A driver that is about to end hears nothing any more.

    Raises:
        UserError: there is no driver, or it pauses already.
    """
    if not sweep.is_running():
        raise UserError(f"no driver is at work on {sweep.name!r}: `tuner status {sweep.name}` says how it ended")
    if request == "pause" and phase_of(sweep) in ("pausing", "paused"):
        raise UserError(f"{sweep.name!r} is paused already: `tuner resume {sweep.name}` goes on")
    ask(sweep, request)
    deadline = time.monotonic() + _ANSWER_S
    while _is_untaken(sweep) and sweep.is_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S / 5)
    return not _is_untaken(sweep)


def _is_untaken(sweep: SweepFolder) -> bool:
    path = sweep.folder / _REQUEST
    sweep.store.fetch(path)
    return path.exists()


def end_pause(sweep: SweepFolder) -> bool:
    """Ask the driver of a paused sweep to go on; return False if there is no such driver."""
    if phase_of(sweep) not in ("pausing", "paused") or not sweep.is_running():
        return False
    ask(sweep, "resume")
    return True


class Control:
    """The driver's end: takes requests and says what the driver is about. Its caller holds the sweep's lock."""

    def __init__(self, sweep: SweepFolder) -> None:
        self._folder, self._store = sweep.folder, sweep.store
        self.phase: Phase = "running"
        self._request: object = None
        self._looked_at = time.monotonic()
        self._look_every_s = _LOOK_EVERY_S if self._store.url is None else _ASK_STORE_EVERY_S
        for name in (_REQUEST, _PHASE):
            self._store.remove_stored(self._folder / name)
            (self._folder / name).unlink(missing_ok=True)

    def is_winding_down(self) -> bool:
        """Return whether runs are to stop at their next report. Cheap: it looks twice a second at most."""
        now = time.monotonic()
        if now - self._looked_at >= self._look_every_s:
            self._looked_at = now
            self._look()
        return self.phase != "running"

    def wait(self) -> bool:
        """Stay paused until a request comes; return whether to go on, else the driver is to end."""
        self._enter("paused")
        while True:
            self._look()
            if self.phase != "paused":
                return self.phase == "running"
            time.sleep(self._look_every_s)

    def end(self) -> None:
        """Say that the driver has stopped as it was asked to, if it was."""
        if self.phase == "stopping":
            self._enter("stopped")

    def _look(self) -> None:
        """Take what is asked, by a rename, so that nothing asked meanwhile is lost; heed it once the phase lets it."""
        request, taken = self._folder / _REQUEST, self._folder / f".{_REQUEST}.taken"
        try:
            self._store.fetch(request)
            request.rename(taken)
            self._store.remove_stored(request)
            content = taken.read_bytes()
            taken.unlink()
            self._request = json.loads(content)["request"]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, LookupError, TypeError):
            self._request = None
        following = next((to for phase, request, to in _STEPS if (phase, request) == (self.phase, self._request)), None)
        if following is not None:
            self._request = None
            self._enter(following)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        with contextlib.suppress(OSError):  # a full disk must not end a sweep that would otherwise go on
            self._store.write_json(self._folder / _PHASE, {"format": _FORMAT, "phase": phase})
