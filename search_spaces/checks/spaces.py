"""All checks of a search space against the trainables and their metrics, beyond its grammar."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces.checks.baselines import baseline_mistakes
from search_spaces.checks.combinations import combination_mistakes
from search_spaces.checks.fields import model_mistakes, value_mistakes
from search_spaces.checks.metrics import metric_mistakes
from search_spaces.checks.parameters import parameter_mistakes
from search_spaces.checks.rungs import rung_mistakes
from search_spaces.errors import Mistake, MistakeList, unknown
from search_spaces.parameters import leaf_values
from search_spaces.parsing.reader import Draft
from search_spaces.sections import submodel
from trainables.config import CONFIGURATIONS, TrainingConfig
from trainables.config.plugins.packages import is_installed, is_package

_MOST_GPUS = 10_000  # beyond it, the field itself refuses


def space_mistakes(draft: Draft, *, is_launched: bool = False) -> list[Mistake]:
    """Return what in a file does not fit the settings of its trainable and its baselines, or the metrics of runs.

    Args:
        draft: the file as far as it could be read.
        is_launched: whether it is that of a sweep that exists, which keeps its rungs wherever they lie, and as many
            GPUs for one run as it had.

    Raises:
        UnreadableError: there are too many mistakes.
    """
    mistakes = MistakeList()
    if missing := list(_missing_packages(draft)):
        return missing  # all else that is unknown follows from it
    mistakes += metric_mistakes(draft)
    mistakes += _shared_section_mistakes(draft)
    mistakes += () if is_launched else _gpu_mistakes(draft)
    trainable = draft.data.get("trainable")
    if isinstance(trainable, str) and trainable in CONFIGURATIONS:
        config = CONFIGURATIONS[trainable]
        mistakes += parameter_mistakes(config, draft)
        mistakes += combination_mistakes(config, draft, tuple(mistakes))
        mistakes += () if is_launched else rung_mistakes(config, draft)
    elif isinstance(trainable, str):
        mistakes.append(Mistake(None, ("trainable",), unknown("trainable", trainable, CONFIGURATIONS)))
    mistakes += baseline_mistakes(draft)
    return mistakes


def _missing_packages(draft: Draft) -> Iterator[Mistake]:
    """Find packages that a launch has noted, and that are not installed in any version."""
    for name in draft.section("code"):
        if is_package(str(name)) and not is_installed(str(name)):
            yield Mistake(None, ("code", str(name)), "this package with plug-ins is not installed here: install it")


def _gpu_mistakes(draft: Draft) -> Iterator[Mistake]:
    gpus = draft.section("resources").get("gpu")
    if isinstance(gpus, int | float) and 1 < gpus <= _MOST_GPUS and gpus == int(gpus):
        yield Mistake(
            None,
            ("resources", "gpu"),
            f"must be at most 1, not {gpus:g}: one run trains on one GPU. A run on {gpus:g} would need its minibatches "
            f"divided among GPUs, which no recipe does; with 1 or auto, {gpus:g} GPUs train as many runs at once",
        )


def _shared_section_mistakes(draft: Draft) -> Iterator[Mistake]:
    for key in ("dataset", "evaluation"):
        section = draft.section(key)
        mistakes = [
            mistake
            for path, value in leaf_values(section, (key,))
            for mistake in value_mistakes(TrainingConfig, path, path, [(path, value)])
        ]
        yield from mistakes
        if not mistakes and (model := submodel(TrainingConfig, key)):
            for path, message in model_mistakes(model, section):
                yield Mistake(None, (key, *path), message)
