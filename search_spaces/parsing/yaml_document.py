"""Read a YAML text into plain Python data, with the line of every key and item and every mistake in its syntax.

Works on parser events: duplicate keys, anchors and aliases are seen before anything is built, so that all of them can
be reported, and no text can blow up in memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from search_spaces.errors import Mistake, Path, UnreadableError, shown
from trainables.attacks.radii import parse_fraction

MAX_BYTES = 100_000
MAX_DEPTH = 16
MAX_VALUES = 4_000  # keys and values: bounds the time that a hostile file can cost


@dataclass(frozen=True)
class Document:
    """What a text holds: its data, the line of every key and item, and the mistakes made in writing it.

    `unreadable` are the paths whose value could not be read: further mistakes there would only repeat the first.
    """

    data: Any = None
    lines: dict[Path, int] = field(default_factory=lambda: {(): 1})
    mistakes: tuple[Mistake, ...] = ()
    unreadable: frozenset[Path] = frozenset()

    def line(self, path: Path) -> int | None:
        """Return the line of a path, or of the nearest mapping around it that is in the text."""
        return next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), None)

    def located(self, mistakes: Iterable[Mistake]) -> list[Mistake]:
        """Return mistakes with their lines filled in, without those that follow from an unreadable value."""
        return [
            Mistake(mistake.line or self.line(mistake.path), mistake.path, mistake.message)
            for mistake in mistakes
            if not any(mistake.path[:end] in self.unreadable for end in range(1, len(mistake.path) + 1))
        ]


def parse(text: str) -> Document:
    """Return the document in a text; whatever is wrong with the text is in the document's mistakes."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return Document(mistakes=(Mistake(None, (), f"a search space must be below {MAX_BYTES:,} bytes"),))
    builder = _Builder(YAML(typ="safe", pure=True).parse(text))
    try:
        data = builder.document()
    except UnreadableError as error:
        return Document(mistakes=(*builder.mistakes, *error.mistakes))
    except (YAMLError, ValueError, OverflowError) as error:  # ruamel.yaml lets some of Python's own errors through
        return Document(mistakes=(*builder.mistakes, _syntax_mistake(error, text)))
    return Document(data, builder.lines, tuple(builder.mistakes), frozenset(builder.unreadable))


def _syntax_mistake(error: Exception, text: str) -> Mistake:
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        context = f" {error.context}" if error.context else ""
        return Mistake(mark.line + 1, (), f"not valid YAML: {error.problem}{context}")
    position = getattr(error, "position", None)
    line = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
    return Mistake(line, (), f"not valid YAML: {getattr(error, 'reason', None) or 'a character that cannot be read'}")


class _Builder:
    """Turns parser events into data, keeping lines and mistakes."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events: Iterator[Event] = iter(events)
        self._num_values = 0
        self.lines: dict[Path, int] = {(): 1}
        self.mistakes: list[Mistake] = []
        self.unreadable: set[Path] = set()

    def document(self) -> object:
        """Return the data of the only document, or None when the text holds nothing."""
        data, num_documents = None, 0
        for event in self._events:
            if not isinstance(event, DocumentStartEvent):
                continue
            num_documents += 1
            if num_documents > 1:
                message = "one file is one search space: a second one starts here"
                raise UnreadableError([Mistake(_line(event), (), message)])
            data = self._value((), next(self._events))
        return data

    def _value(self, path: Path, event: Event) -> object:
        self._num_values += 1
        if len(path) > MAX_DEPTH:
            raise UnreadableError([Mistake(_line(event), (), f"nested more than {MAX_DEPTH} levels deep")])
        if self._num_values > MAX_VALUES:
            raise UnreadableError([Mistake(_line(event), (), f"more than {MAX_VALUES:,} keys and values")])
        self._refuse_indirection(path, event)
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, ScalarEvent):
            return self._scalar(path, event)
        return None if isinstance(event, AliasEvent) else self._sequence(path)

    def _refuse_indirection(self, path: Path, event: Event) -> None:
        if isinstance(event, AliasEvent):
            self._refuse(path, event, f"the alias *{event.anchor} is not allowed: write the value out")
        elif isinstance(event, NodeEvent) and event.anchor:
            self.mistakes.append(Mistake(_line(event), path, f"the anchor &{event.anchor} is not allowed: remove it"))
        if tag := getattr(event, "tag", None):
            self._refuse(path, event, f"the tag {shown(str(tag))} is not allowed: write the plain value")

    def _refuse(self, path: Path, event: Event, message: str) -> None:
        self.mistakes.append(Mistake(_line(event), path, message))
        self.unreadable.add(path)

    def _mapping(self, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for event in self._until_end():
            key, line = self._key(path, event), _line(event)
            if key is not None and key in mapping:
                first = self.lines[(*path, key)]
                self.mistakes.append(Mistake(line, (*path, key), f"given twice: it already stands on line {first}"))
            inner = (*path, "?" if key is None else key)
            self.lines.setdefault(inner, line)
            value = self._value(inner, next(self._events))
            if key is not None:
                mapping.setdefault(key, value)
        return mapping

    def _key(self, path: Path, event: Event) -> str | None:
        key = self._value((*path, "?"), event)
        if isinstance(key, str):
            return key
        if isinstance(event, ScalarEvent) and isinstance(key, float) and "/" in event.value:
            return str(event.value)  # groups of settings may be named after their radius
        self.mistakes.append(Mistake(_line(event), path, f"a key must be text, not {shown(key)}: write it in quotes"))
        return None

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        for event in self._until_end():
            inner = (*path, len(items))
            self.lines.setdefault(inner, _line(event))
            items.append(self._value(inner, event))
        return items

    def _until_end(self) -> Iterator[Event]:
        for event in self._events:
            if isinstance(event, CollectionEndEvent):
                return
            yield event

    def _scalar(self, path: Path, event: ScalarEvent) -> object:
        try:
            # In quotes, too, because JSON has no other way to write a fraction.
            fraction = None if path == ("description",) else parse_fraction(event.value)
            if fraction is not None:
                return fraction
            return resolved(event.value) if event.implicit[0] else text(event.value)
        except ValueError as error:
            self._refuse(path, event, str(error))
            return None


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def text(value: str) -> str:
    """Return quoted text unchanged.

    Raises:
        ValueError: it holds what no encoding can write.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("half of a surrogate pair is not text")
    return value


def resolved(word: str) -> object:
    """Return the null, bool, int, float or text that a plain scalar stands for.

    Raises:
        ValueError: it is a number that no setting can take: not finite, or beyond 64 bits.
    """
    if word in _NULLS:
        return None
    if word in _BOOLS:
        return _BOOLS[word]
    if _NOT_FINITE.fullmatch(word):
        raise ValueError(f"must be a finite number, not {word}")
    if _INTEGER.fullmatch(word):
        return _integer(word)
    if _FLOAT.fullmatch(word):
        return _finite(word)
    return text(word)


def _integer(word: str) -> int:
    base = {"0o": 8, "0x": 16}.get(word[:2], 10)
    # Python refuses to read thousands of digits, and no setting is larger than 64 bits.
    number = int(word, base) if len(word) <= 70 else 2**63
    if abs(number) >= 2**63:
        raise ValueError(f"must be below 2**63, not {shown(word)}")
    return number


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number, not {shown(word)}")
    return number
