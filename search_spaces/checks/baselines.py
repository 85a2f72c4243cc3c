"""The settings of a search space's baselines, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from search_spaces.checks.fields import SHARED_SETTINGS, model_mistakes, recipe_value_mistakes
from search_spaces.errors import Mistake, Path, unknown
from search_spaces.parameters import Fixed, Parameter, leaf_values, put
from search_spaces.parsing.reader import Draft
from search_spaces.sections import Baseline
from trainables.config import CONFIGURATIONS
from trainables.training.published import PUBLISHED

PUBLISHED_SETTINGS = {
    name: {key: value for key, value in entry.settings.items() if key == "trainable" or key not in SHARED_SETTINGS}
    for name, entry in PUBLISHED.items()
}
"""The published configurations that a space can name, without the settings that all runs of a sweep share."""
# What a baseline takes over from the parameters that a space fixes, so that the comparison is of recipes alone.
_SIZES = {("classifier", "width"), ("classifier", "depth"), ("classifier", "options"), ("classifier", "start")}
_AUGMENTATION = {("augmentation", "crop"), ("augmentation", "flip")}
_INHERITED = {("classifier", "architecture"), ("batch_size",)} | _SIZES | _AUGMENTATION


def baseline_settings(parameters: Iterable[Parameter], baseline: Baseline) -> dict[str, Any]:
    """Return the nested settings of a baseline: its own overrides, and what it takes over from a space.

    Args:
        parameters: of the space; a fixed architecture with its sizes, batch size and augmentation are taken over.
        baseline: its own settings override those that are taken over.
    """
    settings: dict[str, Any] = {}
    own = {path for path, _ in leaf_values(baseline.settings)}
    inherited = _INHERITED - _SIZES if ("classifier", "architecture") in own else _INHERITED
    for parameter in parameters:
        if (parameter.path in inherited or parameter.path[:2] in inherited) and isinstance(parameter.domain, Fixed):
            put(settings, parameter.path, parameter.domain.value)
    for path, value in leaf_values(baseline.settings):
        put(settings, path, value)
    return settings


def baseline_mistakes(draft: Draft) -> Iterator[Mistake]:
    """Yield what in a file's baselines does not fit the configuration classes of their trainables."""
    for index, baseline in draft.baselines.items():
        yield from _mistakes_of(draft, ("baselines", index), baseline)


def _mistakes_of(draft: Draft, place: Path, baseline: Baseline) -> Iterator[Mistake]:
    if baseline.trainable not in CONFIGURATIONS:
        is_name = isinstance(draft.data["baselines"][place[1]], str)
        valid = [*CONFIGURATIONS, *PUBLISHED_SETTINGS] if is_name else CONFIGURATIONS
        yield Mistake(None, place, unknown("trainable", baseline.trainable, valid))
        return
    config = CONFIGURATIONS[baseline.trainable]
    mistakes = [
        mistake
        for path, value in leaf_values(baseline.settings)
        for mistake in recipe_value_mistakes(config, path, (*place, *path), [((*place, *path), value)])
    ]
    yield from mistakes
    if not mistakes:
        settings = {**baseline_settings(draft.parameters, baseline), **draft.shared_settings}
        yield from (Mistake(None, place, message) for _, message in model_mistakes(config, settings))
