"""Learning curves of real MNIST trials: every point of the grid in ``space.yaml``, trained to the end once.

``trials.jsonl`` has one trial a line: the values of what varies, its seconds, and for every report the compute, the
clean and the robust accuracy on 1,000 validation images. Made on two cores, two trials at once, by::

    tuner launch tests/benchmarks/curves/space.yaml --name curves
    python -m tests.benchmarks.curves sweeps/curves
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search_spaces.configurations import load_space
from search_spaces.schema import Space
from tuner.sweep.runs import Record, read_metrics

FOLDER = Path(__file__).parent
SPACE, TRIALS = FOLDER / "space.yaml", FOLDER / "trials.jsonl"


@dataclass(frozen=True)
class Curve:
    """A trial: what was chosen by dotted name, its seconds, and what it reported, in order."""

    chosen: dict[str, Any]
    seconds: float
    compute: list[float]
    clean_accuracy: list[float]
    robust_accuracy: list[float]


def chosen_of(space: Space, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the values, by dotted name, of the parameters that vary."""
    chosen: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.varies:
            value: Any = settings
            for key in parameter.path:
                value = value[key]
            chosen[parameter.name] = value
    return chosen


def key_of(chosen: dict[str, Any]) -> str:
    """Return what stands for a point of the grid."""
    return json.dumps(chosen, sort_keys=True)


def read() -> dict[str, Curve]:
    """Return the recorded curves by their points: all of the space's grid."""
    curves = [Curve(**json.loads(line)) for line in TRIALS.read_text().splitlines()]
    return {key_of(curve.chosen): curve for curve in curves}


def write(records: list[Record]) -> int:
    """Keep the curves of a sweep's complete trials, those on the grid of ``space.yaml``; return how many lack."""
    space = load_space(str(SPACE))
    curves: dict[str, Curve] = {}
    for record in records:
        if record.run.kind == "trial" and record.state == "complete":
            rows = read_metrics(record.run)
            chosen = chosen_of(space, record.run.settings)
            curves[key_of(chosen)] = Curve(
                chosen,
                round(sum(rows[-1][name] for name in ("train_s", "evaluation_s")), 1),
                [round(row["compute"], 3) for row in rows],
                *([row.get(name, row[f"watch/{name}"]) for row in rows] for name in ("clean", "robust")),
            )
    wanted = [key_of(point) for point in space.grid()]
    there = [json.dumps(asdict(curves[key])) + "\n" for key in wanted if key in curves]
    TRIALS.write_text("".join(there))
    return len(wanted) - len(there)
