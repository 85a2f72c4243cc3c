"""JSON that every reader takes: the language has no NaN and no infinity, which Python writes all the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def dump_json(content: Any) -> str:
    """Return plain data as JSON for people to read; a number that is not finite is ``null``."""
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(item) for item in content] if isinstance(content, list | tuple) else content
