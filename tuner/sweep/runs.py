"""Runs and what is known of them. A run is a trial or a baseline: one configuration trained once, in one folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainables.evaluation.checks import MASKING_FAILURES
from trainables.storage.sweep_store import SweepStore

Kind = Literal["trial", "baseline", "confirm"]
State = Literal["running", "complete", "pruned", "failed"]
SWEEP = "sweep"
"""What stands for the sweep itself where runs go by their keys."""
Tier = Literal["rank", "final"]


@dataclass(frozen=True)
class Run:
    """One configuration to be trained: ``key`` is unique in a sweep, ``settings`` are complete."""

    key: str
    kind: Kind
    number: int
    settings: dict[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        """A baseline's name, or the key of any other run."""
        return baseline_name(self.key) or self.key

    @property
    def label(self) -> str:
        """What a person calls it: the trainable, and for a generator its ratio schedule and its goal."""
        name: str = self.settings["trainable"]
        if "ratio" in self.settings:
            name += f" {describe_ratio(self.settings['ratio'])}"
        return name + describe_goal(self.settings.get("generator", {}))


@dataclass(frozen=True)
class Record:
    """What the ledger says of a run: its last metrics, and when it has ended, how.

    `value` is that of the first objective. `ended_s` is for how many seconds drivers had worked on the sweep when the
    run ended: it grows from one end to the next, whatever the clock on the wall does.
    """

    run: Run
    state: State
    metrics: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    feasible: bool = True
    reason: str | None = None
    ended_s: float | None = None

    @property
    def is_masked(self) -> bool:
        """Whether it is infeasible because its gradients are masked, so that its accuracies cannot be trusted."""
        return not self.feasible and self.metrics.get(MASKING_FAILURES, 0.0) > 0

    @property
    def outcome(self) -> str:
        """Its state as a person wants to know it: of complete runs, those that do not count say why."""
        return self.state if self.feasible else "masked" if self.is_masked else "infeasible"


_BASELINE = "baseline-"


def baseline_key(name: str) -> str:
    """Return the key of the run of a baseline of that name."""
    return _BASELINE + name


def baseline_name(key: str) -> str | None:
    """Return the name of the baseline whose run or configuration has a key; None if the key is not a baseline's.

    The key of a baseline's run in the stage of confirming is one, too: ``baseline-standard.seed100000``.
    """
    return key.removeprefix(_BASELINE) if key.startswith(_BASELINE) else None


def num_images(settings: dict[str, Any], *, ranked: bool) -> int:
    """Return on how many images a run's accuracies were measured: as many as asked for, or all that there are."""
    asked: int = settings["evaluation"]["rank_images" if ranked else "watch_images"]
    there: int = settings["dataset"]["validation"]
    return min(asked, there)


def describe_goal(generator: dict[str, Any]) -> str:
    """Return a generator's goal in a few characters: `` to 3``, `` 4 to 9``, nothing for an untargeted one."""
    match generator.get("goal"):
        case "targeted":
            return f" to {generator['target']}"
        case "source_to_target":
            return f" {generator['source']} to {generator['target']}"
        case _:
            return ""


def describe_ratio(ratio: dict[str, Any]) -> str:
    """Return a ratio schedule in a few characters: ``2:1``, ``6-8-12:1``, ``<0.6:1``."""
    match ratio["kind"]:
        case "constant":
            return f"{describe_setting(ratio['generator_turns'])}:1"
        case "stepped":
            return "-".join(map(str, ratio["steps"])) + ":1"
        case _:
            return f"<{ratio['target_generator_loss']:.2g}:1"


def describe_setting(setting: object) -> str:
    """Return a number, or a schedule of them, in a few characters: ``2``, ``1..8``, ``1-4-2``."""
    if not isinstance(setting, dict):
        return str(setting)
    return {"linear": "..", "stepped": "-"}.get(setting["kind"], "").join(map(str, setting["values"]))


def append_metrics(folder: Path, row: dict[str, float], store: SweepStore) -> None:
    """Append a row to the ``metrics.jsonl`` in a run's folder; a last line that a crash cut off is removed first."""
    path = folder / "metrics.jsonl"
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
    store.append(path, json.dumps(row).encode() + b"\n", sync=True)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the metrics of every report of a run, in their order; a line that a crash cut off is left out."""
    return [json.loads(line) for line in _whole_lines(folder)]


def read_last_metrics(folder: Path) -> dict[str, float]:
    """Return the metrics of a run's last report; empty if it has not reported."""
    lines = _whole_lines(folder)
    last: dict[str, float] = json.loads(lines[-1]) if lines else {}
    return last


def _whole_lines(folder: Path) -> list[bytes]:
    try:
        content = (folder / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    return content[: content.rfind(b"\n") + 1].splitlines()


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as text by dotted name."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = str(value)
    return flat
