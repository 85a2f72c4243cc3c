"""Runs many and keeps what is best: the study decides, Ray runs, MLflow shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import Sweep


__all__ = ["Sweep"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is asked for: the command line must answer before anything heavy loads."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tuner import api

    return getattr(api, name)
