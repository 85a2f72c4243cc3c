"""Observations: trials of earlier studies that a new study begins with, as a JSON file keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from trainables.storage.checked_json import read_json


@dataclass(frozen=True)
class Observation:
    """One earlier trial.

    Attributes:
        origin: where it comes from, ``SWEEP/RUN``.
        parameters: values by dotted name.
        values: one for each objective of a complete trial, None if it was stopped early.
        reports: reported values of the metric that is pruned on, by step.
        violations: by how much each constraint was broken, by name; a constraint that was kept has none above zero.
    """

    origin: str
    parameters: Mapping[str, Any]
    values: Sequence[float] | None
    reports: Mapping[int, float]
    violations: Mapping[str, float]

    def to_json(self) -> dict[str, object]:
        """Return what `read_observations` finds among the ``trials`` of a file."""
        return {
            "from": self.origin,
            "parameters": self.parameters,
            "values": self.values,
            "reports": self.reports,
            "violations": self.violations,
        }


_Trial = TypedDict(
    "_Trial",
    {
        "from": str,
        "parameters": dict[str, Any],
        "values": list[float] | None,
        "reports": dict[int, float],
        "violations": dict[str, float],
    },
)


class _File(TypedDict):
    trials: list[_Trial]


def read_observations(path: Path, sweep_id: str) -> list[Observation]:
    """Return the observations of a file, none if there is no such file.

    Args:
        path: of the file.
        sweep_id: of the sweep that begins with them.

    Raises:
        UserError: the file is damaged.
    """
    remedy = "put a copy of it in its place; nothing was changed"
    try:
        content = read_json(path, _File, remedy=remedy, sweep_id=sweep_id)
    except FileNotFoundError:
        return []
    return [
        Observation(
            origin=trial["from"],
            parameters=trial["parameters"],
            values=trial["values"],
            reports=trial["reports"],
            violations=trial["violations"],
        )
        for trial in content["trials"]
    ]
