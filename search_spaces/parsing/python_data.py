"""A search space given as Python data instead of a file: written as the text of a file, or refused."""

from __future__ import annotations

import ctypes
import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from numbers import Real
from typing import Any

from search_spaces.errors import Mistake, MistakeList, Path, SpaceError, UnreadableError, shown
from search_spaces.parsing.yaml_document import MAX_DEPTH, MAX_VALUES

_MADE_OF = "a space must be made of mappings, lists, text and numbers, true, false and null"
_UNPRINTABLE = re.compile("[\x7f-\x9f\ufeff\ufffe\uffff\u2028\u2029]")


def text_of_data(content: object, source: str) -> str:
    """Return what a search-space file with this content holds, as JSON, which is YAML.

    Args:
        content: mappings, sequences such as lists, tuples and ranges, numbers, texts, booleans and None, nested.
            Scalars, arrays and tensors of numpy, torch and the like count as numbers and lists.
        source: what to call it in messages.

    Raises:
        SpaceError: something else is in it, a number that is not finite, or too many values.
    """
    reader = _Reader()
    try:
        plain = reader.plain((), content)
    except UnreadableError as error:
        raise SpaceError(source, error.mistakes) from None
    if reader.mistakes:
        raise SpaceError(source, reader.mistakes)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


class _Reader:
    """Turns Python data into what JSON can hold, keeping mistakes."""

    def __init__(self) -> None:
        self.mistakes = MistakeList()
        self._num_values = 0

    def plain(self, path: Path, value: object) -> object:
        self._count(path, 1)
        value = value.value if isinstance(value, Enum) else value
        if isinstance(value, Mapping):
            return self._mapping(path, value)
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            return self._array(path, value)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
            return self._items(path, value)
        return self._scalar(path, value)

    def _scalar(self, path: Path, value: object) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, Real | Decimal):
            return self._number(path, value)
        self._refuse(path, f"{_MADE_OF}, not {_described(value)}")
        return None

    def _mapping(self, path: Path, mapping: Mapping[Any, Any]) -> dict[str, object]:
        self._count(path, len(mapping))
        plain: dict[str, object] = {}
        for key, value in mapping.items():
            if isinstance(key, str):
                plain[str.__str__(key)] = self.plain((*path, str.__str__(key)), value)
            else:
                self._refuse(path, f"a key must be text, not {_described(key)}")
        return plain

    def _items(self, path: Path, items: Sequence[Any]) -> list[object]:
        if self._num_values + len(items) > MAX_VALUES:  # before a range of billions is walked through
            self._count(path, len(items))
        return [self.plain((*path, index), item) for index, item in enumerate(items)]

    def _array(self, path: Path, array: Any) -> object:
        size = math.prod(getattr(array, "shape", ()))
        if self._num_values + size > MAX_VALUES:
            self._count(path, size)
        try:
            values = array.tolist()
        except (TypeError, ValueError, RuntimeError) as error:
            self._refuse(path, f"cannot be read as numbers: {error}")
            return None
        return self.plain(path, _shortened(values) if "float32" in str(array.dtype) else values)

    def _number(self, path: Path, value: Real | Decimal) -> float | None:
        if isinstance(value, int):
            if abs(value) < 2**63:
                return int(value)
            self._refuse(path, "must be below 2**63")
            return None
        try:
            number = float(value)
        except (OverflowError, ValueError):
            number = math.inf
        if math.isfinite(number):
            return number
        self._refuse(path, f"must be a finite number, not {number}")
        return None

    def _count(self, path: Path, num_values: int) -> None:
        self._num_values += num_values
        if len(path) > MAX_DEPTH:
            self._stop(path[:MAX_DEPTH], f"nested more than {MAX_DEPTH} levels deep")
        if self._num_values > MAX_VALUES:
            self._stop(path, f"more than {MAX_VALUES:,} keys and values")

    def _refuse(self, path: Path, message: str) -> None:
        self.mistakes.append(Mistake(None, path, message))

    def _stop(self, path: Path, message: str) -> None:
        raise UnreadableError([*self.mistakes, Mistake(None, path, message)])


def _described(value: object) -> str:
    kind = type(value).__name__
    try:
        return f"{kind} {shown(value)}"
    except Exception:
        return kind


def _shortened(values: Any) -> Any:
    """Return numbers of 32 bits as the shortest decimals that stand for them: 0.1 instead of 0.10000000149."""
    if isinstance(values, list):
        return [_shortened(value) for value in values]
    if not isinstance(values, float) or not math.isfinite(values):
        return values
    shorter = (float(f"{values:.{digits}g}") for digits in range(1, 10))
    return next((number for number in shorter if ctypes.c_float(number).value == values), values)
