"""Known configurations: settings that go by a name, like published ones, and changes put over them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

# Nested settings by name, each with the key ``trainable``.
Known = Mapping[str, Mapping[str, Any]]
NAMED_BY = "published"  # the key that names one in a mapping


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with those of another mapping in their place; both are copied."""
    result: dict[str, Any] = deepcopy(dict(settings))
    for key, value in changes.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        result[key] = with_changes(before, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result
