"""Every error that is raised on purpose for the user, under one root, and the exit codes of the command line."""

from __future__ import annotations

from search_spaces.errors import SpaceError
from trainables.errors import (
    BundleError,
    CheckpointError,
    DamagedRunError,
    DataError,
    MissingExtraError,
    PrecisionError,
    StorageError,
    SweepError,
    TunerError,
    UserError,
)

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "MISTAKE",
    "STOPPED",
    "BundleError",
    "CheckpointError",
    "DamagedRunError",
    "DataError",
    "MissingExtraError",
    "PrecisionError",
    "SpaceError",
    "StorageError",
    "SweepError",
    "TunerError",
    "UserError",
]

FAILED, MISTAKE, STOPPED, INTERRUPTED = SweepError.exit_code, UserError.exit_code, 3, 130
