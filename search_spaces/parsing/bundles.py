"""``bundle``: the configuration of an exported run, which ``first`` and ``baselines`` name by the path of a folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import ValidationError

from search_spaces.errors import Mistake, Path, dotted, shown
from search_spaces.parameters import leaf_values, with_changes
from trainables.config import parse
from trainables.errors import UserError

BUNDLE = "bundle"
"""The key that names one in a mapping of ``first`` or ``baselines``."""
KEPT = "bundles"
"""The key of a space under which a launch keeps the settings of the bundles that it names."""
BundleSettings: TypeAlias = Mapping[str, Any]
"""The settings of a bundle's run, complete and nested, those among them that all runs of a sweep share."""
ReadBundle: TypeAlias = Callable[[str], BundleSettings]
"""Returns the settings of the bundle in a folder; raises UserError if there is none."""
_MAX_PATH = 4096


class Bundles:
    """The bundles that a space names.

    Args:
        kept: the content of the key ``bundles``, if a launch has written it: the settings of each by its path.
        read: reads those that are not there.
        shared: keys of the settings that all runs of a sweep share, which are those of the space.
    """

    def __init__(self, kept: object, read: ReadBundle | None, shared: Collection[str] = ()) -> None:
        self._kept = kept if isinstance(kept, Mapping) else {}
        self._read = read
        self._shared = shared
        self.found: dict[str, BundleSettings] = {}

    def settings(self, place: Path, path: object, mistakes: list[Mistake]) -> BundleSettings | None:
        """Return the settings of one bundle; None if there is none there, which is added to the mistakes.

        Args:
            place: of the path in the file.
            path: of the folder as the file says it.
            mistakes: of the file.
        """
        if not isinstance(path, str) or not 0 < len(path) <= _MAX_PATH:
            mistakes.append(Mistake(None, place, f"must be the path of a bundle's folder, not {shown(path)}"))
            return None
        if path not in self.found:
            try:
                self.found[path] = self._look_up(path)
            except UserError as error:
                mistakes.append(Mistake(None, place, str(error)))
        return self.found.get(path)

    def own(self, bundle: BundleSettings) -> dict[str, Any]:
        """Return the settings of a bundle without those that all runs of a sweep share."""
        return {key: value for key, value in bundle.items() if key not in self._shared}

    def left_out(
        self, bundle: BundleSettings, changes: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any, Any]]:
        """Yield the settings of a bundle that a trial of a space would not have, which sets them otherwise.

        Args:
            bundle: its settings.
            changes: nested, which were to be put over them.
            settings: nested, of the trial.

        Yields:
            The dotted name of each, its value in the bundle, and that of the trial.
        """
        common = {key: value for key, value in bundle.items() if key in self._shared}
        wanted, given = (
            {".".join(keys): value for keys, value in leaf_values(complete_settings({**each, **common}))}
            for each in (with_changes(bundle, changes), settings)
        )
        for name in sorted(wanted.keys() | given.keys()):
            if not _equal(wanted.get(name), given.get(name)):
                yield name, wanted.get(name), given.get(name)

    def _look_up(self, path: str) -> BundleSettings:
        if path in self._kept:
            return complete_settings(self._kept[path])
        if self._read is None:
            raise UserError("bundles cannot be read here")
        return self._read(path)


def complete_settings(content: object) -> BundleSettings:
    """Return the complete settings of a run that plain data describes; earlier releases had fewer.

    Raises:
        UserError: it describes none.
    """
    try:
        settings: dict[str, Any] = parse(content).model_dump(mode="json")  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = dotted(first["loc"][1:])
        raise UserError(f"holds no configuration: {where + ': ' if where else ''}{first['msg']}") from None
    return settings


def _equal(value: object, other: object) -> bool:
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-12)
    return value == other
