"""Read search spaces with all checks, and make complete configurations of trials and baselines from them.

Imports nothing heavy: a wrong file is refused before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.checks.assignments import assign
from search_spaces.checks.baselines import PUBLISHED_SETTINGS, baseline_settings
from search_spaces.checks.spaces import space_mistakes
from search_spaces.errors import Mistake, SpaceError
from search_spaces.library import text_of
from search_spaces.parameters import Fixed
from search_spaces.parsing.reader import read
from search_spaces.schema import Space
from trainables.config import CONFIGURATIONS, parse


def load_space(name_or_path: str) -> Space:
    """Return a packaged search space, or the one in a file, checked against its trainable.

    Raises:
        SpaceError: no space has that name or path, or it has mistakes; the message lists all of them.
    """
    return parse_space(*text_of(name_or_path))


def parse_space(text: str, source: str) -> Space:
    """Return the search space that a text describes, checked against its trainable.

    Raises:
        SpaceError: it has mistakes; the message lists all of them, under the name of the source.
    """
    return read(text, source, check=space_mistakes, published=PUBLISHED_SETTINGS)


def assigned_space(text: str, source: str, assignments: Sequence[str]) -> str:
    """Return the text of a space with values of a command line put in, see `search_spaces.checks.assignments.assign`.

    Raises:
        SpaceError: it has mistakes then; those of a value that was put in have no line.
    """
    if not assignments:
        return text
    parse_space(text, source)
    assigned = assign(text, source, assignments)
    try:
        parse_space(assigned, source)
    except SpaceError as error:
        raise SpaceError(
            f"{source} with --set", [Mistake(None, each.path, each.message) for each in error.mistakes]
        ) from None
    return f"{assigned.rstrip()}\n# as launched, with {' '.join(f'--set {each}' for each in assignments)}\n"


def configuration_for(space: Space, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the complete, validated settings of one trial as plain data.

    Args:
        space: the space that the trial belongs to.
        settings: of the trainable, nested, as `Space.settings` returns them.
        seed: of the trial.
    """
    return _complete(space, space.trainable, settings, seed)


def baseline_configurations(space: Space, num_seeds: int = 1) -> dict[str, dict[str, Any]]:
    """Return the complete settings of every baseline by its name; all have one seed before any has the next.

    A baseline is its trainable's defaults on the dataset, evaluation, compute and seed of the sweep, with the network
    and batch size that the space fixes, and with the baseline's own overrides.

    Args:
        space: the space that the baselines belong to.
        num_seeds: with how many seeds each runs. From the second on, the seed is in the name: ``standard.seed1``; no
            baseline can be called that in a file.
    """
    return {
        baseline.name if repeat == 0 else f"{baseline.name}.seed{space.search.seed + repeat}": _complete(
            space, baseline.trainable, baseline_settings(space.parameters, baseline), space.search.seed + repeat
        )
        for repeat in range(num_seeds)
        for baseline in space.baselines
    }


def report_every(space: Space) -> float:
    """Return the compute between two reports of a trial, which is the same for all trials of a space."""
    default = CONFIGURATIONS[space.trainable].model_fields["report_every"].default
    fixed = {item.name: item.domain.value for item in space.parameters if isinstance(item.domain, Fixed)}
    return float(fixed.get("report_every", default))


def _complete(space: Space, trainable: str, settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    shared = {
        "trainable": trainable,
        "dataset": space.dataset.model_dump(),
        "evaluation": space.evaluation.model_dump(),
        "seed": seed,
    }
    settings = {"compute": space.budget.compute, **settings, **shared}
    configuration: dict[str, Any] = parse(settings).model_dump(mode="json")
    return configuration
