"""The errors that are shown without a traceback: what the user can put right, and what stops a sweep. No torch here.

All of them descend from `TunerError`. A `UserError` says what is wrong, where, and what to do about it; a `SweepError`
says what has stopped the work from outside. The text of each has no secret in it, whatever it was made of.
"""

from __future__ import annotations

from typing import ClassVar

from trainables.common.redaction import redact


def printable(text: str) -> str:
    """Return a text without what a terminal would act on: characters that cannot be printed are written as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class TunerError(Exception):
    """The root of all errors that are raised on purpose for the caller; ``exit_code`` is that of the command line."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return redact(super().__str__())


class UserError(TunerError, ValueError):
    """A mistake in what was asked for; the message says what, where and what to do. Exit code 2."""

    exit_code = 2


class SweepError(TunerError, RuntimeError):
    """A sweep has stopped by itself; the message says why. Nothing is lost, it can be resumed. Exit code 1."""


class DataError(UserError):
    """Files of a dataset are missing, damaged or cannot be stored; the message says which, where, and what to do."""


class BundleError(UserError):
    """The files of an exported classifier are missing, damaged or do not fit together."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or of a format that this version does not read."""


class DamagedRunError(UserError):
    """A file of a run is damaged, or belongs to another run; the message says which, why, and what to do.

    Attributes:
        reason: why the file cannot be used, as a clause.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtraError(UserError):
    """An optional dependency is not installed; the message holds the command that installs it."""


class PrecisionError(UserError):
    """A floating-point precision that this machine does not compute in."""


class StorageError(OSError, SweepError):
    """The place of a sweep cannot be written or read from this machine; the message says which place."""

    def __str__(self) -> str:
        return redact(super().__str__())  # which is that of `OSError`
