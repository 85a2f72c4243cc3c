"""A trial whose run is trained in a pack: it asks the pack's actor for one report after the other.

It imports no torch, because there is one such process for each run.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

import ray
from ray import tune

from trainables.worker.context import PACK_LOST

_LEAVE_S = 10.0


class PackLostError(RuntimeError):
    """The actor of a run's pack has died or cannot be reached; the run can go on in another one."""


class PackedTrainable(tune.Trainable):
    """Stands for the run of a `RunTask` that a pack trains; each step returns one report, as `RunTrainable` does."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take over a run."""
        self._task = config
        self._attempt = uuid.uuid4().hex
        self._pack: Any = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over the next run in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Take the run out of its pack."""
        if self._pack is not None:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._pack.leave.remote(self._task["key"], self._attempt), timeout=_LEAVE_S)

    def step(self) -> dict[str, Any]:
        """Return the next result of the run; a restored run first repeats its last report.

        Raises:
            FencedError: a later attempt at the run has begun.
            PackLostError: the pack has died.
        """
        try:
            self._pack = self._pack or ray.get_actor(self._task["pack"])
        except ValueError as error:  # it is no more
            raise PackLostError(PACK_LOST) from error
        try:
            result: dict[str, Any] = ray.get(self._pack.report.remote(self._task, self._attempt))
        except ray.exceptions.RayActorError as error:
            raise PackLostError(f"{PACK_LOST}: {str(error).strip()}") from error
        return result
