"""``baselines``: the recipes to compare with, as names or as mappings with overrides."""

from __future__ import annotations

from search_spaces.mistakes import Mistake
from search_spaces.sections import Baseline, name_objection
from search_spaces.wording import shown


def read_baselines(raw: object) -> tuple[dict[int, Baseline], list[Mistake]]:
    """Return the baselines by their index in the file, and what is wrong with the list."""
    if not isinstance(raw, list):
        return {}, [Mistake(None, ("baselines",), f"must be a list of baselines, not {shown(raw)}")]
    baselines: dict[int, Baseline] = {}
    mistakes: list[Mistake] = []
    taken: dict[str, int] = {}
    for index, item in enumerate(raw):
        trainable = item.get("trainable") if isinstance(item, dict) else item
        if not isinstance(trainable, str):
            message = f"must be a name, or a mapping with the key trainable and a name, not {shown(item)}"
            mistakes.append(Mistake(None, ("baselines", index), message))
            continue
        settings = dict(item) if isinstance(item, dict) else {}
        name = settings.pop("name", trainable)
        settings.pop("trainable", None)
        objection = name_objection(name)
        if objection is None and taken.setdefault(name, index) != index:
            objection = f"{name} is the name of two baselines: give one of them a name of its own"
        if objection:
            place = ("baselines", index, "name") if isinstance(item, dict) and "name" in item else ("baselines", index)
            mistakes.append(Mistake(None, place, objection))
        baselines[index] = Baseline(name=str(name), trainable=trainable, settings=settings)
    return baselines, mistakes
