"""A search space: one file, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, field_validator

from search_spaces.grid import grid_points, num_grid_points
from search_spaces.limits import MAX_SEEDS
from search_spaces.parameters import Parameter, settings_of
from search_spaces.sections import (
    MAX_BASELINES,
    MAX_FIRST,
    MAX_OBJECTIVES,
    PARETO,
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
from trainables.config import MAX_FILES, CodeName, Sha256
from trainables.evaluation.earlier_names import present_name
from trainables.evaluation.metrics import accuracy_of, reported_metric

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


MAX_TRIALS = 10_000  # if the budget sets no number of trials: time, compute or the target end the search earlier


class Space(Section):
    """What is fixed, what varies, the objective, the budget and the baselines of one sweep.

    Attributes:
        name: of the space, and by default of its sweeps.
        description: one sentence for lists of spaces.
        trainable: the recipe whose settings the parameters are.
        dataset: what every run learns from.
        evaluation: how every run is measured.
        objectives: the metrics that the search improves, the key ``objective`` of a file.
        constraints: bounds that a trial must keep to count as a success, by metric.
        budget: how much the sweep may cost.
        search: how configurations are chosen, and weak trials stopped.
        resources: what one run occupies.
        confirm: how the best configurations are run again.
        baselines: recipes to compare with.
        seeds: how many seeds every point of a grid and every baseline runs with.
        parameters: in the order in which they are chosen: each after those that its conditions name.
        first: the configurations to try first, as values by dotted name.
        code: SHA-256 of each file and module of a user's own that the space names; a launch writes it.
        bundles: the settings of each bundle that ``first`` or ``baselines`` names, by its path; a launch writes them.
    """

    name: Name
    description: Annotated[str, Field(max_length=10_000)] = ""
    trainable: str
    dataset: Dataset = Dataset()
    evaluation: Evaluation = Evaluation()
    objectives: Annotated[
        tuple[Objective, ...], Field(validation_alias="objective", min_length=1, max_length=MAX_OBJECTIVES)
    ] = (Objective(),)
    constraints: Mapping[str, Bounds] = {}
    budget: Budget
    search: Search = Search()
    resources: Resources = Resources()
    confirm: Confirm = Confirm()
    baselines: Annotated[tuple[Baseline, ...], Field(max_length=MAX_BASELINES)] = ()
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] = 1
    parameters: tuple[Parameter, ...] = ()
    first: Annotated[tuple[Mapping[str, Any], ...], Field(max_length=MAX_FIRST)] = ()
    code: Annotated[Mapping[CodeName, Sha256], Field(max_length=MAX_FILES)] = {}
    bundles: Annotated[Mapping[str, Mapping[str, Any]], Field(max_length=MAX_FIRST + MAX_BASELINES)] = {}

    @field_validator("objectives", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value if isinstance(value, tuple) else (value,)

    @field_validator("constraints", mode="before")
    @classmethod
    def _with_present_names(cls, value: object) -> object:
        return {present_name(str(name)): bounds for name, bounds in value.items()} if isinstance(value, dict) else value

    @property
    def objective(self) -> Objective:
        """The first objective, by which trials are ranked where one number is needed."""
        return self.objectives[0]

    @property
    def prune_on(self) -> Objective:
        """The metric that trials are compared by while they train.

        By default what stands for the first objective at every report (``watch/clean`` for ``clean``), or
        ``watch/robust`` if nothing does.
        """
        named = None if self.prunes_by_pareto_rank else self.search.prune_on
        return named or self._watched_objective or Objective(metric=accuracy_of("robust", "watch"))

    @property
    def prunes_on_its_objective(self) -> bool:
        """Whether trials are compared by what stands for the only objective: one study then takes both."""
        return len(self.objectives) == 1 and self.prune_on == self._watched_objective

    @property
    def prunes_by_pareto_rank(self) -> bool:
        """Whether trials are compared by all objectives while they train."""
        return self.search.prune_on is not None and self.search.prune_on.metric == PARETO

    @property
    def watched_metrics(self) -> list[str] | None:
        """The metrics that stand for the objectives at every report; None if one has none."""
        watched = [reported_metric(objective.metric) for objective in self.objectives]
        return None if None in watched else [metric.name for metric in watched if metric is not None]

    @property
    def _watched_objective(self) -> Objective | None:
        metric = reported_metric(self.objective.metric)
        return None if metric is None else Objective(metric=metric.name, mode=self.objective.mode)

    @property
    def num_trials(self) -> int:
        """The most trials that the sweep runs: the budget's number, or every grid point with every seed."""
        if self.budget.trials is None and self.search.sampler != "grid":
            return MAX_TRIALS
        return self.budget.trials or self.num_grid_points * self.seeds

    @cached_property
    def num_grid_points(self) -> int:
        """The number of combinations of the varying parameters.

        Raises:
            ValueError: see `grid`.
        """
        return num_grid_points(self.parameters)

    def settings(self, suggest: Callable[[Parameter], Any]) -> dict[str, Any]:
        """Return the nested settings of one trial.

        Args:
            suggest: returns the value of a varying parameter. It is called in the order of `parameters`, for those
                whose conditions hold. For named fragments it returns a name, which the fragment's settings replace.
        """
        return settings_of(self.parameters, suggest)

    def first_parameters(self) -> list[dict[str, Any]]:
        """Return the configurations to try first, as values by dotted name; the search chooses what is left out."""
        return [dict(values) for values in self.first]

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination of the varying parameters as values by dotted name, each combination once.

        Raises:
            ValueError: a range of real numbers has no grid, or there are too many combinations.
        """
        return grid_points(self.parameters)
