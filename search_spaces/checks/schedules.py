"""Whether a setting that a search space lets change over the run can do so, and its values are within its bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from search_spaces.errors import Mistake, Path, explain
from search_spaces.parameters import SchedulePart
from search_spaces.sections import keys_of, submodel
from trainables.config.schedules import Schedule


def schedule_mistakes(
    config: type[BaseModel], part: SchedulePart, values: Iterable[tuple[Path, Any]]
) -> Iterator[Mistake]:
    """Check one part of a schedule.

    Args:
        config: the configuration that its path, which leads to a field, begins in.
        part: its kind, its moments or one of its values.
        values: the values that it may have, each with its path in the file.
    """
    path, settings = part.path[:-1], dict(changing(config))
    if path not in settings:
        can = ", ".join(".".join(other) for other in settings)
        yield Mistake(None, (*part.place, "schedule"), f"{path[-1]} cannot change over the run (what can: {can})")
    elif part.number:
        for place, value in values:
            try:
                settings[path].model_validate({"kind": "constant", "values": [value]})
            except ValidationError as error:
                yield from (Mistake(None, place, explain(details)) for details in error.errors(include_url=False))


def changing(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Yield the paths of the settings that can change over the run, with their class of schedules."""
    for key in keys_of(model):
        inner = submodel(model, key)
        if inner and issubclass(inner, Schedule):
            yield (*path, key), inner
        elif inner:
            yield from changing(inner, (*path, key))
