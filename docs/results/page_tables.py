"""Puts tables between the marks of a page of results, and writes accuracies with their intervals."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tuner.statistics import interval


def with_lines(text: str, name: str, lines: Iterable[str]) -> str:
    """Return a page with lines between its marks ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: the page lacks a mark.
    """
    between = re.compile(f"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
    if not between.search(text):
        raise ValueError(f"the page must have the marks <!-- {name} --> and <!-- end of {name} -->")
    content = "\n".join(lines)
    return between.sub(lambda _: f"\n{content}\n\n", text)


def percent(accuracy: float, num_images: int) -> str:
    """Return an accuracy in percent with its 95 % interval (Wilson) over images."""
    low, high = interval(accuracy, num_images)
    return f"{100 * accuracy:.1f} ({100 * low:.1f}-{100 * high:.1f})"
