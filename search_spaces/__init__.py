"""Search spaces: YAML files that say what is fixed, what varies, the objective, the budget and the baselines.

`read` checks the grammar alone; `search_spaces.configurations.load_space` also checks that a space's keys are settings
of its trainable.
"""

from __future__ import annotations

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
