"""A search space: one file, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from search_spaces.grid import grid_points
from search_spaces.parameters import Parameter, settings_of
from search_spaces.sections import (
    Baseline,
    Bounds,
    Budget,
    Confirm,
    Dataset,
    Evaluation,
    Name,
    Objective,
    Resources,
    Search,
    Section,
)
from trainables.evaluation.metrics import metric_named

__all__ = [
    "Baseline",
    "Bounds",
    "Budget",
    "Confirm",
    "Dataset",
    "Evaluation",
    "Objective",
    "Resources",
    "Search",
    "Space",
]


MAX_TRIALS = 10_000  # where other budgets end the search


class Space(Section):
    """What is fixed, what varies, the objective, the budget and the baselines of one sweep.

    `parameters` stand in the order in which they are chosen; `first` holds the configurations to try first, as
    values by dotted name.
    """

    name: Name
    description: str = ""
    trainable: str
    dataset: Dataset = Dataset()
    evaluation: Evaluation = Evaluation()
    objectives: Annotated[tuple[Objective, ...], Field(validation_alias="objective", min_length=1)] = (Objective(),)
    constraints: Mapping[str, Bounds] = {}
    budget: Budget
    search: Search = Search()
    resources: Resources = Resources()
    confirm: Confirm = Confirm()
    baselines: tuple[Baseline, ...] = ()
    seeds: Annotated[int, Field(ge=1)] = 1
    parameters: tuple[Parameter, ...] = ()
    first: tuple[Mapping[str, Any], ...] = ()

    @field_validator("objectives", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value if isinstance(value, tuple) else (value,)

    @property
    def objective(self) -> Objective:
        """The first objective: what single numbers are ranked by."""
        return self.objectives[0]

    @property
    def prune_on(self) -> Objective:
        """What trials are compared by while they train.

        By default the first objective; robust accuracy where only the last report of a run has the first objective.
        """
        is_reported = metric_named(self.objective.metric).every_report
        return self.search.prune_on or (self.objective if is_reported else Objective())

    @property
    def num_trials(self) -> int:
        """How many trials the sweep asks for at most: the budget's, or every grid point with every seed."""
        if self.budget.trials is None and self.search.sampler != "grid":
            return MAX_TRIALS
        return self.budget.trials or len(self.grid()) * self.seeds

    def settings(self, suggest: Callable[[Parameter], Any]) -> dict[str, Any]:
        """Return the nested settings of one trial.

        Args:
            suggest: gives the value of a varying parameter. It is asked in order, and only for those whose conditions
                hold. For named fragments it gives the name; the fragment's settings are put in their place.
        """
        return settings_of(self.parameters, suggest)

    def first_parameters(self) -> list[dict[str, Any]]:
        """Return the configurations to try first, as values by dotted name; each leaves some parameters open."""
        return [dict(values) for values in self.first]

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination of the varying parameters as values by dotted name, each combination once.

        Raises:
            ValueError: a range of real numbers has no grid, or there are too many combinations.
        """
        return grid_points(self.parameters)
