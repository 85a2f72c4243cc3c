"""``baselines``: the recipes to compare with, as names or as mappings with overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.errors import Mistake, MistakeList, Path, shown, unknown
from search_spaces.parameters import with_changes
from search_spaces.sections import MAX_BASELINES, Baseline, name_objection


def read_baselines(raw: object, published: PublishedSettings) -> tuple[dict[int, Baseline], list[Mistake]]:
    """Return the baselines by their index in the file, and the mistakes in the list.

    Args:
        raw: the content of ``baselines``.
        published: configurations that a baseline can be named after; it has their settings.
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
        trainable, settings = _recipe(place, item, published, mistakes)
        if trainable is None:
            continue
        name: Any = item.get("name", item.get(NAMED_BY, trainable)) if isinstance(item, dict) else item
        objection = name_objection(name)
        if objection is None and taken.setdefault(name, index) != index:
            objection = f"{name} is the name of two baselines: give one of them a name of its own"
        if objection:
            has_name = isinstance(item, dict) and "name" in item
            mistakes.append(Mistake(None, (*place, "name") if has_name else place, objection))
        baselines[index] = Baseline(name=str(name), trainable=trainable, settings=settings)
    return baselines, mistakes


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
    message = f"must be a name, or a mapping with the key trainable or {NAMED_BY} and a name, not {shown(item)}"
    mistakes.append(Mistake(None, place, message))
    return None, {}


PublishedSettings = Mapping[str, Mapping[str, Any]]
"""Published configurations by name: nested settings, each with the key ``trainable``."""
NAMED_BY = "published"  # the key that names one in a mapping
