"""What a plain YAML scalar stands for, after the core schema of YAML 1.2.

``1e-4`` is a float, ``no`` is text, ``012`` is twelve.
"""

from __future__ import annotations

import math
import re

from search_spaces.wording import shown

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def text(value: str) -> str:
    """Return quoted text as it stands.

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
