"""Search spaces: YAML files that say what is fixed, what varies, the objective, the budget and the baselines.

`read` checks the grammar alone; `search_spaces.configurations.load_space` also checks that a space's keys are settings
of its trainable.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search_spaces.errors import Mistake, SpaceError
    from search_spaces.library import names, text_of
    from search_spaces.parameters import Choice, Domain, Fixed, FloatRange, Fragments, IntRange, Parameter, SchedulePart
    from search_spaces.parsing.reader import Draft, read
    from search_spaces.schema import Space
    from search_spaces.sections import Baseline

__all__ = [
    "Baseline",
    "Choice",
    "Domain",
    "Draft",
    "Fixed",
    "FloatRange",
    "Fragments",
    "IntRange",
    "Mistake",
    "Parameter",
    "SchedulePart",
    "Space",
    "SpaceError",
    "names",
    "read",
    "text_of",
]
_MODULES = {
    "Baseline": "sections",
    "Choice": "parameters",
    "Domain": "parameters",
    "Draft": "parsing.reader",
    "Fixed": "parameters",
    "FloatRange": "parameters",
    "Fragments": "parameters",
    "IntRange": "parameters",
    "Mistake": "errors",
    "Parameter": "parameters",
    "SchedulePart": "parameters",
    "Space": "schema",
    "SpaceError": "errors",
    "names": "library",
    "read": "parsing.reader",
    "text_of": "library",
}

if not TYPE_CHECKING:  # a type checker sees the names above

    def __getattr__(name: str) -> object:
        """Import a public name when it is asked for: the command line must answer before anything heavy loads."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
