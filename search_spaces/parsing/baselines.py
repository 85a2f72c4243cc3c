"""``baselines``: the recipes to compare with, as names or as mappings with overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from search_spaces.errors import Mistake, MistakeList, Path, shown, unknown
from search_spaces.parameters import with_changes
from search_spaces.parsing.bundles import BUNDLE, Bundles
from search_spaces.sections import MAX_BASELINES, Baseline, name_objection


def read_baselines(
    raw: object, published: PublishedSettings, bundles: Bundles
) -> tuple[dict[int, Baseline], list[Mistake]]:
    """Return the baselines by their index in the file, and the mistakes in the list.

    Args:
        raw: the content of ``baselines``.
        published: configurations that a baseline can be named after; it has their settings.
        bundles: whose configurations a baseline can have.
    """
    if not isinstance(raw, list):
        return {}, [Mistake(None, ("baselines",), f"must be a list of baselines, not {shown(raw)}")]
    if len(raw) > MAX_BASELINES:
        message = f"has {len(raw):,} baselines, and at most {MAX_BASELINES} are taken"
        return {}, [Mistake(None, ("baselines",), message)]
    baselines: dict[int, Baseline] = {}
    mistakes = MistakeList()
    taken: dict[str, int] = {}
    for index, item in enumerate(raw):
        place = ("baselines", index)
        if isinstance(item, dict) and BUNDLE in item:
            trainable, settings = _recipe_of_bundle(place, item, bundles, mistakes)
        else:
            trainable, settings = _recipe(place, item, published, mistakes)
        if trainable is None:
            continue
        name = _name_of(item, trainable)
        objection = name_objection(name)
        if objection is None and taken.setdefault(name, index) != index:
            objection = f"{name} is the name of two baselines: give one of them a name of its own"
        if objection:
            has_name = isinstance(item, dict) and "name" in item
            mistakes.append(Mistake(None, (*place, "name") if has_name else place, objection))
        baselines[index] = Baseline(name=str(name), trainable=trainable, settings=settings)
    return baselines, mistakes


def _name_of(item: object, trainable: str) -> Any:
    """Return what a baseline is called: by its own name, or by what it is named after."""
    if not isinstance(item, dict):
        return item
    if BUNDLE in item and "name" not in item:
        return PurePosixPath(item[BUNDLE]).name
    return item.get("name", item.get(NAMED_BY, trainable))


def _recipe_of_bundle(
    place: Path, item: Mapping[str, Any], bundles: Bundles, mistakes: list[Mistake]
) -> tuple[str | None, dict[str, Any]]:
    """Return the trainable and the settings of a baseline that is a bundle's run; like `_recipe`."""
    for key in (NAMED_BY, "trainable"):
        if key in item:
            mistakes.append(Mistake(None, (*place, key), f"comes with what {BUNDLE} names: remove it"))
            return None, {}
    bundle = bundles.settings((*place, BUNDLE), item[BUNDLE], mistakes)
    if bundle is None:
        return None, {}
    changes = {key: value for key, value in item.items() if key not in ("name", BUNDLE)}
    return bundle["trainable"], with_changes(bundles.own(bundle), changes)


def _recipe(
    place: Path, item: object, published: PublishedSettings, mistakes: list[Mistake]
) -> tuple[str | None, dict[str, Any]]:
    """Return the trainable and the settings of a baseline; None when it has mistakes, which are added to the list."""
    if isinstance(item, str):
        item = {NAMED_BY if item in published else "trainable": item}
    settings = {key: value for key, value in item.items() if key != "name"} if isinstance(item, dict) else {}
    if NAMED_BY in settings:
        name = settings.pop(NAMED_BY)
        if "trainable" in settings:
            mistakes.append(Mistake(None, (*place, "trainable"), f"comes with what {NAMED_BY} names: remove it"))
            return None, {}
        if not isinstance(name, str) or name not in published:
            mistakes.append(Mistake(None, (*place, NAMED_BY), unknown("published configuration", str(name), published)))
            return None, {}
        settings = with_changes(published[name], settings)
    trainable = settings.pop("trainable", None)
    if isinstance(trainable, str):
        return trainable, settings
    message = (
        f"must be a name, or a mapping with the key trainable, {NAMED_BY} or {BUNDLE} and a name, not {shown(item)}"
    )
    mistakes.append(Mistake(None, place, message))
    return None, {}


PublishedSettings = Mapping[str, Mapping[str, Any]]
"""Published configurations by name: nested settings, each with the key ``trainable``."""
NAMED_BY = "published"  # the key that names one in a mapping
