"""Search-space files that come with the package. Each is an attribute, as a package of others would have its own."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

_FOLDER = files("search_spaces").joinpath("packaged")
NAMES = tuple(sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml")))
"""The names of the spaces."""


def __getattr__(name: str) -> Traversable:
    """Return the file of a space."""
    if name not in NAMES:
        raise AttributeError(name)
    return _FOLDER.joinpath(f"{name}.yaml")
