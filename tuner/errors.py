"""What is shown without a traceback: what a person can put right, and why a sweep has given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class UserError(ValueError):
    """A mistake in what was asked for; the message says what, where and what to do. Exit code 2."""


class SweepError(RuntimeError):
    """A sweep has stopped by itself; the message says why. Nothing is lost, it can go on. Exit code 1."""


FAILED, MISTAKE, STOPPED, INTERRUPTED = 1, 2, 3, 130
