"""Puts ``key=value`` of a command line into the text of a search space, which then is checked like any other."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from search_spaces.errors import Mistake, SpaceError, unknown
from search_spaces.parsing.yaml_document import parse
from search_spaces.schema import Space
from search_spaces.sections import deeper_keys, keys_of
from trainables.config import CONFIGURATIONS

_WIDTH = 10_000  # characters of a line, so that none is broken


def assign(text: str, source: str, assignments: Sequence[str]) -> str:
    """Return the text of a search space with values put in; comments and the order of keys stay.

    Args:
        text: of the space; one with mistakes is returned as it is, for the reader to tell them.
        source: what to call it in messages.
        assignments: like ``budget.trials=20`` or ``generator.width=32``: a key of the file, or a setting, which stands
            under ``parameters``. A value is written as in the file: ``{float: [0.1, 0.3]}`` is a range.

    Raises:
        SpaceError: an assignment has no ``=``, or a key or value that no space can have; all of them at once.
    """
    document = parse(text)
    if document.mistakes or not isinstance(document.data, dict) or not assignments:
        return text
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = _WIDTH, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    space = yaml.load(text)
    mistakes = [mistake for each in assignments if (mistake := _put(space, each))]
    if mistakes:
        raise SpaceError(f"{source} with --set", mistakes)
    written = io.StringIO()
    yaml.dump(space, written)
    return written.getvalue()


def _path(name: str) -> tuple[str, ...]:
    keys = tuple(name.split("."))
    return keys if keys[0] in keys_of(Space) else ("parameters", *keys)


def _put(space: CommentedMap, assignment: str) -> Mistake | None:
    """Put one value into a space; return what is wrong with it, if anything is."""
    name, equals, text = assignment.partition("=")
    path = _path(name)
    if not equals or not all(path):
        return Mistake(None, (), f"takes KEY=VALUE, like generator.width=32, not {assignment!r}")
    known = _first_keys(space)
    if path[0] == "parameters" and path[1:] and path[1] not in known:
        return Mistake(None, (), f"{name}: {unknown('key', path[1], known, _deeper(space, path[1]))}")
    document = parse(text)
    if document.mistakes:
        return Mistake(None, path, document.mistakes[0].message)
    return _insert(space, path, _value(text))


def _first_keys(space: CommentedMap) -> set[str]:
    """Return what a key can begin with: keys of a space, and settings of its trainable."""
    model = CONFIGURATIONS.get(str(space.get("trainable")))
    return {*keys_of(Space), *(keys_of(model) if model else space.get("parameters") or ())}


def _deeper(space: CommentedMap, key: str) -> Iterator[str]:
    """Yield keys below those that end with this one: of the settings, then of the space."""
    model = CONFIGURATIONS.get(str(space.get("trainable")))
    if model:
        yield from deeper_keys(model, key)
    yield from deeper_keys(Space, key)


def _value(text: str) -> Any:
    try:
        return YAML().load(text)
    except YAMLError:  # `parse` has accepted it
        return text


def _insert(space: CommentedMap, path: tuple[str, ...], value: Any) -> Mistake | None:
    inner: Any = space
    for depth, key in enumerate(path[:-1]):
        if inner.get(key) is None:
            inner[key] = CommentedMap()
        inner = inner[key]
        if not isinstance(inner, dict):
            return Mistake(None, path[: depth + 1], f"holds {inner!r}: no key can stand below it")
    inner[path[-1]] = value
    return None
