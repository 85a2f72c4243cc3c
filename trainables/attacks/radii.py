"""Radii of attacks as papers write them: ``8/255`` stands for a number of pixels in [0, 1]. Imports no torch."""

from __future__ import annotations

import json
import re
from typing import Any

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_FRACTION = re.compile(rf"({_NUMBER}) ?/ ?({_NUMBER})", re.ASCII)
_IN_JSON = re.compile(rf'(?<![\w"./+-]){_FRACTION.pattern}(?![\w"./])', re.ASCII)


def parse_fraction(text: str) -> float | None:
    """Return the number that a fraction such as ``8/255`` stands for; None for a text that is no fraction.

    Raises:
        ValueError: the denominator is zero.
    """
    fraction = _FRACTION.fullmatch(text.strip())
    if fraction is None:
        return None
    numerator, denominator = map(float, fraction.groups())
    if denominator == 0:
        raise ValueError(f"{text.strip()} divides by zero")
    return numerator / denominator


def parse_radius(text: str) -> float:
    """Return the number that a decimal number or a fraction stands for.

    Raises:
        ValueError: the text is neither, or the denominator is zero.
    """
    fraction = parse_fraction(text)
    try:
        return float(text) if fraction is None else fraction
    except ValueError:
        raise ValueError(f"must be a number like 0.3 or 8/255, not {text[:60]!r}") from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, in which fractions are numbers too: ``[0, 8/255]``.

    Raises:
        ValueError: the text is no JSON, or a denominator is zero.
    """
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(_IN_JSON.sub(lambda match: repr(parse_fraction(match[0])), text))
