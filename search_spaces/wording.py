"""How mistakes are worded: short values, nearest keys, plain sentences for pydantic's errors."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pydantic_core import ErrorDetails

MAX_SHOWN = 60  # characters of a value or key in a message
_WANTS_MAPPING = {"model_type", "dict_type", "mapping_type", "model_attributes_type"}


def shown(value: object) -> str:
    """Return a value as it would stand in a file, on one line and cut to a readable length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def nearest(key: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` when a valid key is close to the given one, else an empty text."""
    # A key of thousands of letters is no slip of the pen, and comparing it would be slow.
    keys = list(valid)
    matches = get_close_matches(key[:MAX_SHOWN], keys, n=1)
    if not matches and len(key) > 2:
        matches = [one for one in keys if one.startswith(key)]
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown(what: str, key: str, valid: Iterable[str]) -> str:
    """Say that a key or name is unknown, name the nearest valid one and list them all."""
    keys = sorted(valid)
    return f"unknown {what} {shown(key)}{nearest(key, keys)} (valid: {', '.join(keys) or 'none'})"


def plain(error: ErrorDetails) -> str:
    """Say in plain words what pydantic found: the relation that must hold and the value that broke it."""
    kind, message, value = error["type"], error["msg"], error["input"]
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "literal_error":
        options = str(error["ctx"]["expected"])
        words = options.replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {options}, not {shown(value)}{nearest(str(value), words)}"
    if kind in _WANTS_MAPPING:
        return f"must be a mapping of settings, not {shown(value)}"
    return f"{message.replace('Input should', 'must')}, not {shown(value)}"
