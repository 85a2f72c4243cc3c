"""Stops, pauses and resumes a running driver from another process, by a request file in the sweep's folder.

The driver polls for the file, removes it and acts on it once, so requests work from any machine that can write the
folder. The driver writes its phase to a second file. Both files are meaningless while no driver holds the sweep's lock;
the next driver removes them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Literal

from pydantic import BaseModel

from trainables.storage.checked_json import parse_json
from tuner.errors import UserError
from tuner.storage.driver_lock import OWNER, read_owner
from tuner.sweep.folder import SweepFolder

Request = Literal["stop", "pause", "resume"]
Phase = Literal["running", "pausing", "paused", "stopping", "stopped"]


class StopRequested(Exception):  # noqa: N818 - no error: it ends what a driver does between two runs
    """A driver was asked to stop before it had done all that it was started for."""


class _RequestFile(BaseModel):
    request: Request


class _PhaseFile(BaseModel):
    phase: Phase


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
_CHECK_STORE_EVERY_S = 2.0
_TIMEOUT_S = 10.0


def ask(sweep: SweepFolder, request: Request) -> None:
    """Write a request for the driver of a sweep; it replaces a request that the driver has not taken yet.

    Raises:
        OSError: the folder cannot be written.
    """
    by = {"pid": os.getpid(), "host": socket.gethostname()}
    sweep.store.write_json(sweep.folder / _REQUEST, {"format": _FORMAT, "request": request, "by": by})


def phase_of(sweep: SweepFolder) -> Phase:
    """Return the phase of a sweep's driver as the driver last wrote it; ``running`` if it has written none."""
    try:
        return read_phase(sweep)
    except (OSError, UserError):
        return "running"


def read_phase(sweep: SweepFolder) -> Phase:
    """Return the phase of a sweep's driver, as `phase_of` does.

    Raises:
        UserError: the file that says it is damaged.
        OSError: it cannot be read.
    """
    path = sweep.folder / _PHASE
    content = sweep.store.read(path)
    if content is None:
        return "running"
    return parse_json(path, content, _PhaseFile, remedy="remove it; the next driver writes it again").phase


def command_of_driver(sweep: SweepFolder) -> str:
    """Return the command of `tuner` that goes on with what a sweep's driver does; ``resume`` if it names none."""
    try:
        sweep.store.fetch(sweep.folder / OWNER)
        driver = read_owner(sweep.folder, sweep.id)
    except (OSError, UserError):
        driver = None
    return (driver and driver.command) or "resume"


def ask_driver(sweep: SweepFolder, request: Request) -> bool:
    """Send a request to a sweep's driver, and return whether it took the request within ten seconds.

    A driver that is about to end takes no more requests.

    Raises:
        UserError: no driver is running, or a pause is requested of one that pauses already.
    """
    if not sweep.is_running():
        raise UserError(f"no driver is at work on {sweep.name!r}: `tuner status {sweep.name}` says how it ended")
    if request == "pause" and phase_of(sweep) in ("pausing", "paused"):
        raise UserError(f"{sweep.name!r} is paused already: `tuner resume {sweep.name}` goes on")
    ask(sweep, request)
    deadline = time.monotonic() + _TIMEOUT_S
    while _is_pending(sweep) and sweep.is_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S / 5)
    return not _is_pending(sweep)


def _is_pending(sweep: SweepFolder) -> bool:
    return sweep.store.read(sweep.folder / _REQUEST) is not None


def end_pause(sweep: SweepFolder) -> bool:
    """Ask the driver of a paused sweep to go on; return False if there is no such driver."""
    if phase_of(sweep) not in ("pausing", "paused") or not sweep.is_running():
        return False
    ask(sweep, "resume")
    return True


class Control:
    """The driver's side: takes requests, and writes the driver's phase.

    Attributes:
        phase: of the driver.

    Args:
        sweep: that is driven; the caller holds its lock.
    """

    def __init__(self, sweep: SweepFolder) -> None:
        self._folder, self._store = sweep.folder, sweep.store
        self.phase: Phase = "running"
        self._request: object = None
        self._checked_at = time.monotonic()
        self._check_every_s = _LOOK_EVERY_S if self._store.url is None else _CHECK_STORE_EVERY_S
        for name in (_REQUEST, _PHASE):
            self._store.remove_stored(self._folder / name)
            (self._folder / name).unlink(missing_ok=True)

    def is_winding_down(self) -> bool:
        """Return whether runs are to stop at their next report. Cheap: it checks at most twice a second."""
        now = time.monotonic()
        if now - self._checked_at >= self._check_every_s:
            self._checked_at = now
            self._take_request()
        return self.phase != "running"

    def wait(self) -> bool:
        """Block, paused, until a request comes; return True to resume, False to end the driver.

        Without the sweep's folder no request can come: False is returned.
        """
        self._enter("paused")
        while True:
            self._take_request()
            if not self._folder.is_dir():
                return False
            if self.phase != "paused":
                return self.phase == "running"
            time.sleep(self._check_every_s)

    def end(self) -> None:
        """Write the phase ``stopped`` if the driver ends because of a request."""
        if self.phase == "stopping":
            self._enter("stopped")

    def _take_request(self) -> None:
        """Take a pending request, and change the phase once the current phase allows it."""
        try:
            content = self._store.take(self._folder / _REQUEST)
            if content is not None:
                self._request = parse_json(self._folder / _REQUEST, content, _RequestFile, remedy="ask again").request
        except (OSError, UserError):
            self._request = None
        following = next((to for phase, request, to in _STEPS if (phase, request) == (self.phase, self._request)), None)
        if following is not None:
            self._request = None
            self._enter(following)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        with contextlib.suppress(OSError):  # a full disk must not end a sweep that would otherwise go on
            self._store.write_json(self._folder / _PHASE, {"format": _FORMAT, "phase": phase})
