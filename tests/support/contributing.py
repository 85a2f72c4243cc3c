"""The examples of CONTRIBUTING, so that tests can run them."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def example(heading: str) -> str:
    """Return the first block of Python after ``**heading**``."""
    return re.search(r"```python\n(.*?)```", TEXT[TEXT.index(f"**{heading}**") :], re.DOTALL)[1]


def run_example(heading: str, **names: object) -> dict[str, object]:
    """Run the block after ``**heading**`` with those names, and return them with what it has made."""
    exec(compile(example(heading), "CONTRIBUTING.md", "exec", dont_inherit=True), names)
    return names
