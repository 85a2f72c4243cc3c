"""Hyperparameter search for adversarially robust image classifiers: `Sweep`, and the errors that it raises."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from warnings import catch_warnings, filterwarnings

if TYPE_CHECKING:
    from tuner.api import Sweep
    from tuner.errors import (
        BundleError,
        CheckpointError,
        DataError,
        MissingExtraError,
        PrecisionError,
        SpaceError,
        StorageError,
        SweepError,
        TunerError,
        UserError,
    )


__all__ = [
    "BundleError",
    "CheckpointError",
    "DataError",
    "MissingExtraError",
    "PrecisionError",
    "SpaceError",
    "StorageError",
    "Sweep",
    "SweepError",
    "TunerError",
    "UserError",
]

if TYPE_CHECKING:
    __version__: str
    """The release that is installed."""
else:  # a type checker sees the names above

    def __getattr__(name: str) -> object:
        """Import a public name when it is asked for: the command line must answer before anything heavy loads."""
        if name == "__version__":
            return import_module("importlib.metadata").version("adversarial-tuner")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with catch_warnings():  # in a notebook without widgets, a bar of Optuna's that is never shown
            filterwarnings("ignore", "IProgress not found")
            return getattr(import_module("tuner.api" if name == "Sweep" else "tuner.errors"), name)
