"""Functions of a user's own, in a file or an installed module, named by a space: read, identified and loaded.

A file's text is given to a process by `provide`, by whoever has made sure that it may be run; it is identified by its
SHA-256, which stands in the settings of every run. Nothing is ever taken from the current folder. No torch here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.common.process_state import without_current_folder
from trainables.config.plugins.references import CodeReference
from trainables.config.plugins.registries import RAISED, explain
from trainables.errors import UserError
from trainables.storage.bounded import read_bounded

CODE = "code"
"""Folder of the code of a user's own, in a bundle as in a sweep."""

MAX_BYTES = 1_000_000
# What this process may run, by its SHA-256: like sys.modules, for files that it was given.
_sources: dict[str, bytes] = {}
_modules: dict[str, types.ModuleType] = {}


def digest_of(source: bytes) -> str:
    """Return the SHA-256 of the text of a file."""
    return hashlib.sha256(source).hexdigest()


def provide(source: bytes) -> str:
    """Let this process run the text of a file; return its SHA-256."""
    digest = digest_of(source)
    _sources[digest] = source
    return digest


def read_source(path: Path) -> bytes:
    """Return the text of a file of code.

    Raises:
        UserError: it cannot be read, is no regular file or too large.
    """
    try:
        return read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def module_digest(name: str) -> str:
    """Return the SHA-256 of the file of an installed module, which is not imported for that.

    Raises:
        UserError: there is no such module, or it has no file.
    """
    try:
        with without_current_folder():
            spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise UserError(
            f"there is no module {name} with a file here: install the package that has it, or name a file beside the "
            f"space, like {name.rsplit('.', maxsplit=1)[-1]}.py:build"
        )
    return digest_of(Path(spec.origin).read_bytes())


def load(reference: CodeReference, code: Mapping[str, str]) -> Any:
    """Return what a reference leads to.

    Args:
        reference: a function or class in a file that was provided, or in an installed module.
        code: the SHA-256 of each file and module, as the settings of a run have them.

    Raises:
        UserError: the code is not here or another one, fails, or has nothing of that name.
    """
    module = _module_of(reference, code)
    try:
        return getattr(module, reference.name)
    except AttributeError:
        there = ", ".join(name for name, value in vars(module).items() if callable(value) and name[0] != "_")
        raise UserError(f"{reference.where} has no {reference.name} (it has: {there[:200] or 'nothing'})") from None
    except RAISED as error:  # the __getattr__ of a module may import
        raise UserError(f"{reference.where}:{reference.name} cannot be imported: {explain(error)}") from error


def _module_of(reference: CodeReference, code: Mapping[str, str]) -> types.ModuleType:
    name = reference.file_name if reference.is_file else reference.where
    digest = code.get(name)
    if digest is None:
        raise UserError(f"the settings do not say which {name} is meant: its SHA-256 is missing under code")
    if not reference.is_file:
        return _installed(name, digest)
    if digest not in _sources:
        raise UserError(f"{name} (SHA-256 {digest[:12]}...) is not here: it lies in the sweep's or the bundle's folder")
    if digest not in _modules:
        _modules[digest] = _run(name, digest)
    return _modules[digest]


def _installed(name: str, digest: str) -> types.ModuleType:
    if module_digest(name) != digest:
        raise UserError(f"the module {name} here is another one than that of the sweep: install the same release of it")
    try:
        with without_current_folder():
            return importlib.import_module(name)
    except RAISED as error:
        raise UserError(f"{name} cannot be imported: {explain(error)}") from error


def _run(name: str, digest: str) -> types.ModuleType:
    """Run the text of a file as a module of its own; its lines are shown in tracebacks."""
    text = _sources[digest]
    file_name = f"{name}#{digest[:12]}"
    module = types.ModuleType(f"tuner_user_code_{digest[:16]}")
    module.__file__ = file_name
    lines = text.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[file_name] = (len(text), None, lines, file_name)
    sys.modules[module.__name__] = module  # dataclasses and pickling look there
    try:
        exec(compile(text, file_name, "exec", dont_inherit=True), vars(module))  # noqa: S102 - provided to be run
    except RAISED as error:
        del sys.modules[module.__name__]
        line = _line_of(error, file_name)
        raise UserError(f"{name} cannot be run{line}: {explain(error)}") from error
    return module


def _line_of(error: BaseException, file_name: str) -> str:
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})"
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file_name:
            line = f" (line {trace.tb_lineno})"
        trace = trace.tb_next
    return line
