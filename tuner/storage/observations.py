"""Observations: trials of earlier studies that a new study begins with, as a JSON file keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


def read_observations(path: Path) -> list[Observation]:
    """Return the observations of a file, none if there is no such file."""
    if not path.exists():
        return []
    return [
        Observation(
            origin=trial["from"],
            parameters=trial["parameters"],
            values=trial["values"],
            reports={int(step): value for step, value in trial["reports"].items()},
            violations=trial["violations"],
        )
        for trial in json.loads(path.read_bytes())["trials"]
    ]
