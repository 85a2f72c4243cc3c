"""Read a text into a search space, or raise one error with every mistake in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from search_spaces.errors import (
    Mistake,
    MistakeList,
    Path,
    SpaceError,
    UnreadableError,
    explain,
    is_consequence,
    unknown,
)
from search_spaces.grid import MAX_POINTS, grid_objection, num_grid_points
from search_spaces.limits import MAX_SEEDS
from search_spaces.parameters import Parameter
from search_spaces.parsing.baselines import PublishedSettings, read_baselines
from search_spaces.parsing.bundles import KEPT, Bundles, ReadBundle
from search_spaces.parsing.first import read_first
from search_spaces.parsing.grammar import read_tree
from search_spaces.parsing.yaml_document import parse
from search_spaces.schema import Space
from search_spaces.sections import SAMPLER_TAGS, Baseline, keys_of, submodel
from trainables.config import DatasetConfig


@dataclass(frozen=True)
class Draft:
    """A space file as far as it could be read, so that it can be checked further though it has mistakes.

    Attributes:
        data: content of the file.
        parameters: the well-formed ones.
        invalid_paths: paths of the parameters with mistakes.
        empty_paths: paths of mappings without any setting among the parameters.
        baselines: the well-formed ones by their index in the file.
    """

    data: Mapping[str, Any]
    parameters: tuple[Parameter, ...]
    invalid_paths: tuple[tuple[str, ...], ...]
    empty_paths: tuple[tuple[str, ...], ...]
    baselines: Mapping[int, Baseline]

    def section(self, key: str) -> Mapping[str, Any]:
        """Return the mapping under a top-level key; empty when there is none."""
        value = self.data.get(key)
        return value if isinstance(value, dict) else {}

    @property
    def budget_settings(self) -> dict[str, Any]:
        """The settings of a run that the budget decides: its ``compute``; empty where the budget has none."""
        budget = self.section("budget")
        return {"compute": budget["compute"]} if "compute" in budget else {}

    @property
    def shared_settings(self) -> dict[str, Any]:
        """Settings that all runs share: `budget_settings` and, where it is sound, the dataset."""
        dataset = self.section("dataset")
        try:
            DatasetConfig.model_validate(dataset)
        except ValidationError:
            return self.budget_settings
        return {**self.budget_settings, "dataset": dict(dataset)}


Check = Callable[[Draft], Iterable[Mistake]]


def read(
    text: str,
    source: str,
    check: Check | None = None,
    published: PublishedSettings | None = None,
    read_bundle: ReadBundle | None = None,
    shared: Collection[str] = (),
) -> Space:
    """Return the space that a YAML text describes.

    Args:
        text: the file's content.
        source: what to call it in messages.
        check: returns further mistakes; their lines are filled in from their paths.
        published: configurations that ``baselines`` and ``first`` can name.
        read_bundle: returns the settings of a bundle that ``baselines`` or ``first`` names by its path.
        shared: keys of the settings that all runs of a sweep share, which no bundle changes.

    Raises:
        SpaceError: the text is no search space; holds every mistake, those of `check` among them.
    """
    document = parse(text)
    if not isinstance(document.data, dict):
        keys = ", ".join(keys_of(Space))
        nothing = Mistake(1, (), f"a search space is a mapping with keys of these: {keys}")
        raise SpaceError(source, document.mistakes or [nothing])
    try:
        bundles = Bundles(document.data.get(KEPT), read_bundle, shared)
        space, mistakes = _read(document.data, check, published or {}, bundles)
    except UnreadableError as error:
        raise SpaceError(source, [*document.mistakes, *document.located(error.mistakes)]) from None
    every = [*document.mistakes, *document.located(mistakes)]
    if every or space is None:
        raise SpaceError(source, every)
    return space


def _read(
    data: dict[str, Any],
    check: Check | None,
    published: PublishedSettings,
    bundles: Bundles,
) -> tuple[Space | None, Sequence[Mistake]]:
    """Return the space, or None if it is none, and the mistakes in a file's content."""
    tree = read_tree(data.get("parameters", {}))
    baselines, wrong_baselines = read_baselines(data.get("baselines", []), published, bundles)
    draft = Draft(data, tree.parameters, tree.invalid_paths, tree.empty_paths, baselines)
    first, wrong_first = read_first(
        data.get("first", []),
        tree.parameters,
        tree.invalid_paths,
        published,
        data.get("trainable"),
        bundles,
    )
    content = {**data, "parameters": tree.parameters, "first": first, "baselines": (*baselines.values(),)}
    content |= {KEPT: bundles.found} if bundles.found else {}
    space: Space | None = None
    mistakes = MistakeList()
    mistakes += chain(wrong_baselines, tree.mistakes, wrong_first, _joint_mistakes(draft))
    try:
        space = Space.model_validate(content)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        mistakes += (_mistake(content, details) for details in errors if not is_consequence(details))
    if check:
        mistakes += check(draft)
    return space, mistakes


def _mistake(data: dict[str, Any], details: ErrorDetails) -> Mistake:
    path = _in_file(data, details["loc"])
    return Mistake(None, path, _message(path, explain(details), details["type"]))


def _in_file(data: dict[str, Any], path: Path) -> Path:
    """Return where a path of the space stands in the file, where a single objective is no list."""
    path = tuple(key for key in path if key not in SAMPLER_TAGS)
    is_single = path[:2] == ("objective", 0) and not isinstance(data.get("objective"), list)
    return (path[0], *path[2:]) if is_single else path


def _message(path: Path, message: str, kind: str) -> str:
    if kind != "extra_forbidden":
        return message
    model: type[BaseModel] = Space
    for key in path[:-1]:
        model = submodel(model, str(key)) or model
    return unknown("key", str(path[-1]), keys_of(model))


def _joint_mistakes(draft: Draft) -> Iterator[Mistake]:
    """Yield keys of different sections that exclude or require each other."""
    sampler = draft.section("search").get("sampler", "tpe")
    budget = draft.section("budget")
    if isinstance(sampler, dict) or sampler in ("nsga2", "random", "qmc", "grid"):
        by_name = sampler if isinstance(sampler, str) else "that it names by its class"
        message = f"has no effect: the sampler {by_name} draws around nothing, which tpe and gp do"
        yield from (Mistake(None, (*item.place, "prior"), message) for item in draft.parameters if item.prior)
    if budget.get("until") is not None:
        yield from _until_mistakes(draft, sampler)
    if sampler == "grid":
        yield from _grid_mistakes(draft, budget.get("trials"))
        return
    budgets = ("trials", "total_compute", "time")
    if isinstance(draft.data.get("budget"), dict) and all(budget.get(key) is None for key in (*budgets, "until")):
        message = f"one of {', '.join(budgets)} is required unless search.sampler is grid"
        yield Mistake(None, ("budget",), message)
    if "seeds" in draft.data:
        message = "repeats the points of a grid: set search.sampler to grid, or budget.trials higher"
        yield Mistake(None, ("seeds",), message)


def _until_mistakes(draft: Draft, sampler: object) -> Iterator[Mistake]:
    place = ("budget", "until")
    if isinstance(objectives := draft.data.get("objective"), list) and len(objectives) > 1:
        yield Mistake(None, place, "goes with one objective: leave it out, or name one")
    if sampler == "grid":
        yield Mistake(None, place, "has no effect with the grid sampler, which tries every point: leave it out")


def _grid_mistakes(draft: Draft, trials: object) -> Iterator[Mistake]:
    if draft.data.get("first"):
        yield Mistake(None, ("first",), "has no effect with the grid sampler, which tries every point")
    objections = [(parameter, grid_objection(parameter)) for parameter in draft.parameters]
    mistakes = [Mistake(None, parameter.place, message) for parameter, message in objections if message]
    yield from mistakes
    if mistakes or draft.invalid_paths:
        return
    try:
        num_points = num_grid_points(draft.parameters)
    except ValueError as error:
        yield Mistake(None, ("parameters",), str(error))
        return
    seeds = draft.data.get("seeds", 1)
    if isinstance(seeds, int) and seeds <= MAX_SEEDS < MAX_POINTS < num_points * seeds:
        message = f"{num_points:,} points with {seeds} seeds are more than {MAX_POINTS:,} trials"
        yield Mistake(None, ("seeds",), message)
    elif isinstance(trials, int) and isinstance(seeds, int) and trials > num_points * max(seeds, 1):
        message = f"{trials} trials are more than the grid's points times seeds ({num_points * seeds}): leave it out"
        yield Mistake(None, ("budget", "trials"), message)
