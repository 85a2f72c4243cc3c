"""Context managers that put environment variables and loggers of this process back to what they were."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put each back to what it was before at the end.

    Args:
        variables: values by name.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        _put_back(before)


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """Put every environment variable back at the end, whoever changed it: libraries set some when they are used."""
    before = dict(os.environ)
    try:
        yield
    finally:
        _put_back({**dict.fromkeys(os.environ), **before})


def _put_back(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def loggers_kept(names: Iterable[str] | None = None) -> Iterator[None]:
    """Put loggers back at the end: level, handlers, and whether they propagate and are disabled.

    Args:
        names: of the loggers; by default the root and all that there are now.
    """
    everything = [logging.root, *logging.root.manager.loggerDict.values()]
    chosen = everything if names is None else [logging.getLogger(name) for name in names]
    loggers = [logger for logger in chosen if isinstance(logger, logging.Logger)]
    before = [(logger, logger.level, list(logger.handlers), logger.propagate, logger.disabled) for logger in loggers]
    try:
        yield
    finally:
        for logger, level, handlers, propagate, disabled in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate, logger.disabled = propagate, disabled
