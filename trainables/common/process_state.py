"""What a process shares with libraries and children: environment variables, loggers, output, places of modules."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import multiprocessing
import os
import signal
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TextIO

from trainables.common.redaction import current_environment, redact


def num_local_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Let this process of `multiprocessing` end as soon as its parent has, however that ended, and at Ctrl-C.

    Without it, workers whose parent is killed finish what they are at, for which nobody waits. Ctrl-C ends them without
    a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("this process was not started by multiprocessing")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in a Python of its own, which takes no code from the current folder.

    Args:
        module: its name, as after ``python -m``.
        arguments: of the module.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def python_environment() -> dict[str, str]:
    """Return this process's environment with `safe_path`."""
    return {**current_environment(), **safe_path()}


def safe_path() -> dict[str, str]:
    """Return environment variables with which Python finds the same `tuner`, and no code in the current folder.

    An empty entry of ``PYTHONPATH``, which would mean the current folder, is left out.
    """
    entries = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    paths = [*source_folders(), *entries]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


def source_folders() -> list[str]:
    """Return the folder that holds the packages of this product, unless another Python finds them by itself."""
    folder = Path(__file__).resolve().parents[2]
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    installed.add(site.getusersitepackages())
    return [] if folder in {Path(each).resolve() for each in installed} else [str(folder)]


@contextlib.contextmanager
def without_current_folder() -> Iterator[None]:
    """Import nothing from the current folder, which ``python -m`` and an interactive Python put first."""
    before = sys.path
    if not sys.flags.safe_path and before and Path(before[0]).resolve() == Path.cwd():
        sys.path = before[1:]
    try:
        yield
    finally:
        sys.path = before


@contextlib.contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Let Python collect no garbage, for code that makes many objects which all stay: looking through them takes time.

    Other threads make garbage meanwhile, so it is for seconds.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
    before = current_environment()
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


def open_missing_streams() -> None:
    """Open ``/dev/null`` for each of standard input, output and error that this process was started without.

    Otherwise the next file that is opened gets its number, and whatever a library or a child prints goes into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


@contextlib.contextmanager
def redacted_output(before_use: Callable[[str | None], object] = lambda text: None) -> Iterator[None]:
    """Mask secrets in what Python code writes to standard output and error while this is entered.

    Args:
        before_use: is called with what is written before it is, every time; with None where that is not known.
    """
    output, errors = RedactedStream(sys.stdout, before_use), RedactedStream(sys.stderr, before_use)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        yield


def unmasked_output() -> TextIO:
    """Return standard output without the mask over secrets, for one that the user has to be told."""
    return sys.stdout.unmasked if isinstance(sys.stdout, RedactedStream) else sys.stdout


class RedactedStream(io.TextIOBase):
    """A stream that masks secrets in what is written to it, each piece by itself.

    Args:
        stream: that the rest is written to, and that says whether it is a terminal.
        before_use: is called with what is written before it is, every time; with None where that is not known.
    """

    def __init__(self, stream: TextIO, before_use: Callable[[str | None], object] = lambda text: None) -> None:
        super().__init__()
        self._stream, self._before_use = stream, before_use
        self.isatty, self.fileno, self.flush = stream.isatty, stream.fileno, stream.flush  # type: ignore[method-assign]

    @property
    def unmasked(self) -> TextIO:
        """The stream itself."""
        self._before_use(None)
        return self._stream

    @property
    def buffer(self) -> BinaryIO:
        """The bytes below the stream, if it has any: for tables as files, which hold no messages."""
        self._before_use(None)
        return self._stream.buffer

    def writable(self) -> bool:
        """Return True: text can be written."""
        return True

    def write(self, text: str) -> int:
        """Write text; return the number of its characters."""
        self._before_use(text)
        self._stream.write(redact(text))
        return len(text)

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self._stream.closed

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What the stream does with characters that it cannot encode."""
        return self._stream.errors
