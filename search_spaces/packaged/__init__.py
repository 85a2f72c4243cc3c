"""Search-space files that come with the package. Each is an attribute, as a package of others would have its own.

The folder `recipes` has the searches of one recipe that others are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

_SUFFIX = ".yaml"


def _spaces(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _spaces(entry)
        elif entry.name.endswith(_SUFFIX):
            yield entry


_FILES = {entry.name.removesuffix(_SUFFIX): entry for entry in _spaces(files("search_spaces").joinpath("packaged"))}
NAMES = tuple(sorted(_FILES))
"""The names of the spaces."""


def __getattr__(name: str) -> Traversable:
    """Return the file of a space."""
    if name not in _FILES:
        raise AttributeError(name)
    return _FILES[name]
