"""Read search spaces with all checks, and make complete configurations of trials and baselines from them.

Imports nothing heavy: a wrong file is refused before anything starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from search_spaces.checks.assignments import assign
from search_spaces.checks.baselines import PUBLISHED_SETTINGS, baseline_settings
from search_spaces.checks.fields import SHARED_SETTINGS
from search_spaces.checks.rungs import EARLIER_RUNGS, default_rung
from search_spaces.checks.spaces import space_mistakes
from search_spaces.errors import Mistake, SpaceError
from search_spaces.library import text_of
from search_spaces.parameters import Fixed
from search_spaces.parsing.bundles import KEPT, BundleSettings, complete_settings
from search_spaces.parsing.reader import Check, Draft, read
from search_spaces.parsing.yaml_document import parse
from search_spaces.schema import Space
from search_spaces.sections import Pruner
from trainables.config import CONFIGURATIONS
from trainables.config import parse as parse_settings
from trainables.errors import UserError
from trainables.storage.bundle_files import CONFIGURATION, read_bundle_json


def load_space(name_or_path: str) -> Space:
    """Return a packaged search space, or the one in a file, checked against its trainable.

    Raises:
        SpaceError: no space has that name or path, or it has mistakes; the message lists all of them.
    """
    return parse_space(*text_of(name_or_path))


def parse_space(text: str, source: str, also: Check | None = None) -> Space:
    """Return the search space that a text describes, checked against its trainable.

    Args:
        text: of the file.
        source: what to call it in messages.
        also: returns further mistakes.

    Raises:
        SpaceError: it has mistakes; the message lists all of them, under the name of the source.
    """

    def check(draft: Draft) -> Iterable[Mistake]:
        return chain(space_mistakes(draft), also(draft) if also else ())

    return with_first_rung(_read(text, source, check))


def parse_launched_space(
    text: str,
    source: str,
    rungs: Mapping[str, float] = EARLIER_RUNGS,
    prior_draws: int = 0,
    gpu: float | None = 0.0,
    pack: int | None = 1,
) -> Space:
    """Return the search space of a sweep that exists, which keeps the first rung that it was launched with.

    Args:
        text: of its file.
        source: what to call it in messages.
        rungs: the `min_resource` of each pruner that the text names none for; by default that of earlier releases. It
            may lie before the end of warm-up and pretraining.
        prior_draws: that of its search if the text names none; earlier releases drew around nothing.
        gpu: that of its resources if the text names none, None for ``auto``; earlier releases used none.
        pack: likewise; earlier releases trained each run in a process of its own.

    Raises:
        SpaceError: it has mistakes; the message lists all of them, under the name of the source.
    """
    check = partial(space_mistakes, is_launched=True)
    space = with_first_rung(_read(text, source, check), rungs)
    launched = {"gpu": gpu, "pack": pack}
    unnamed = {key: value for key, value in launched.items() if key not in space.resources.model_fields_set}
    space = space.model_copy(update={"resources": space.resources.model_copy(update=unnamed)})
    if "prior_draws" in space.search.model_fields_set:
        return space
    return space.model_copy(update={"search": space.search.model_copy(update={"prior_draws": prior_draws})})


def _read(text: str, source: str, check: Check) -> Space:
    base = Path(source).parent if Path(source).is_file() else Path()
    return read(text, source, check, PUBLISHED_SETTINGS, partial(_read_bundle, base), SHARED_SETTINGS)


def _read_bundle(base: Path, path: str) -> BundleSettings:
    """Return the settings of the bundle in a folder, or of a configuration in a JSON file.

    Raises:
        UserError: there is none, or it was changed after it was written.
    """
    if "://" in path:
        raise UserError(f"{path} is a URL: copy the bundle to this machine and name its folder")
    folder = (base / Path(path).expanduser()).absolute()
    if not folder.exists():
        raise UserError(f"{folder} does not exist: a bundle's path is seen from the folder of the space's file")
    folder, name = (folder.parent, folder.name) if folder.is_file() else (folder, CONFIGURATION)
    return read_bundle_json(folder, name, complete_settings)


def with_bundles(space: Space, text: str, source: str) -> str:
    """Return the text of a space with the settings of the bundles that it names, which then are not needed any more.

    Args:
        space: that the text describes.
        text: of its file.
        source: what to call it in messages.
    """
    return assign(text, source, [f"{KEPT}={json.dumps(space.bundles)}"]) if space.bundles else text


def with_first_rung(space: Space, rungs: Mapping[str, float] | None = None) -> Space:
    """Return a space whose pruner, if it has one, names its `min_resource`.

    Args:
        space: a space; a `min_resource` that it names is kept.
        rungs: the default by the pruner's name; without one, `search_spaces.checks.rungs.default_rung`.
    """
    chosen = space.search.pruner.chosen
    if chosen is None or chosen[1].min_resource is not None:
        return space
    by_rule = default_rung(CONFIGURATIONS[space.trainable], space.parameters, space.budget.compute)
    pruner = space.search.pruner.with_first_rung((rungs or {}).get(chosen[0], by_rule))
    return space.model_copy(update={"search": space.search.model_copy(update={"pruner": pruner})})


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


def with_named_rung(text: str, source: str, rung: float, why: str) -> str:
    """Return the text of a space whose pruner names its first rung.

    Args:
        text: of a space without mistakes that has a pruner.
        source: what to call it in messages.
        rung: the compute from which on trials are compared; it may lie before the end of warm-up and pretraining.
        why: where the rung comes from, for a comment.
    """
    space = parse_space(text, source)
    pruner = space.search.pruner.with_first_rung(rung).model_dump(exclude_none=True)
    changes = [f"search.pruner={json.dumps(pruner)}"]
    named = assign(text, source, changes)
    try:
        parse_space(named, source)
    except SpaceError:
        named = assign(named, source, ["search.accept_early_rungs=true"])
    return f"{named.rstrip()}\n# search.pruner: {why}\n"


def names_first_rung(text: str) -> bool:
    """Return whether the text of a space without mistakes has no pruner, or one that names its first rung."""
    pruner = Pruner.model_validate((parse(text).data.get("search") or {}).get("pruner", "none"))
    return pruner.chosen is None or pruner.chosen[1].min_resource is not None


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
        "code": dict(space.code),
    }
    settings = {"compute": space.budget.compute, **settings, **shared}
    configuration: dict[str, Any] = parse_settings(settings).model_dump(mode="json")
    return configuration
