"""Runs and what is known of them. A run is a trial or a baseline: one configuration trained once, in one folder."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trainables.evaluation.checks import MASKING_FAILURES
from trainables.evaluation.earlier_names import rename_reports
from trainables.storage.checked_lines import DamagedLineError
from trainables.storage.run_identity import RunIdentity, settings_digest
from trainables.storage.sweep_store import SweepStore
from tuner.errors import DamagedRunError
from tuner.storage import metrics_file

Kind = Literal["trial", "baseline", "confirm"]
State = Literal["running", "complete", "pruned", "failed"]
SWEEP = "sweep"
"""What stands for the sweep itself where runs go by their keys."""
Tier = Literal["rank", "final"]


@dataclass(frozen=True)
class Run:
    """One configuration to be trained.

    Attributes:
        key: unique in the sweep.
        kind: what it is trained for.
        number: of its trial in the study of its kind.
        settings: complete.
        folder: where its metrics and its checkpoints are.
        sweep_id: id of its sweep.
        sweep_name: name of its sweep, for messages.
        is_sealed: whether the last line of its metrics has a checksum, and its evaluations say of which run they are:
            this release has written the last report and the end of it.
        evaluations: SHA-256 of each file of evaluation results that was written last, by the file's name; those that
            are not known are not checked.
    """

    key: str
    kind: Kind
    number: int
    settings: dict[str, Any]
    folder: Path
    sweep_id: str = ""
    sweep_name: str = ""
    is_sealed: bool = field(default=False, compare=False)
    evaluations: Mapping[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def identity(self) -> RunIdentity:
        """What its metrics and its checkpoints say of whose they are."""
        return RunIdentity(self.sweep_id, self.key, settings_digest(self.settings))

    @property
    def remedy(self) -> str:
        """What a person can do about a damaged file of it, as the end of a sentence."""
        return f"put a copy of it in its place, or `tuner resume {self.sweep_name} --repair` trains {self.key} again"

    @property
    def name(self) -> str:
        """A baseline's name, or the key of any other run."""
        return baseline_name(self.key) or self.key

    @property
    def label(self) -> str:
        """What a person calls it: the trainable, and for a generator its ratio schedule and its goal."""
        return describe_settings(self.settings)


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
    is_damaged: bool = False
    """Whether its metrics cannot be read, so that only the objectives are known, from the study."""

    @property
    def is_masked(self) -> bool:
        """Whether it is infeasible because its gradients are masked, so that its accuracies cannot be trusted."""
        return not self.feasible and self.metrics.get(MASKING_FAILURES, 0.0) > 0

    @property
    def outcome(self) -> str:
        """Its state as a person wants to know it: of complete runs, those that do not count say why."""
        if self.is_damaged:
            return "damaged"
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


def check_shape(settings: dict[str, Any]) -> None:
    """Check that settings have what tables and pictures read of them.

    Raises:
        LookupError: they lack something.
        TypeError: something is of another type.
        ValueError: the seed is none.
    """
    describe_settings(settings)
    for ranked in (False, True):
        num_images(settings, ranked=ranked)
    _compute_of(settings)
    if type(settings["seed"]) is not int:
        raise ValueError(f"the seed of a run is {settings['seed']!r}"[:100])


def describe_settings(settings: dict[str, Any]) -> str:
    """Return the trainable, and for a generator its ratio schedule and its goal."""
    name: str = settings["trainable"]
    if "ratio" in settings:
        name += f" {describe_ratio(settings['ratio'])}"
    return name + describe_goal(settings.get("generator", {}))


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


def append_metrics(run: Run, row: dict[str, float], store: SweepStore) -> None:
    """Append the metrics of a report to those of a run, see `tuner.storage.metrics_file.append_row`.

    Raises:
        OSError: they cannot be written; the file is as it was.
        DamagedRunError: the file is damaged.
    """
    with _damage_named(run):
        metrics_file.append_row(run.folder, row, run.identity, store)


def read_metrics(run: Run) -> list[dict[str, float]]:
    """Return the metrics of every report of a run, in their order; a line that a crash cut off is left out.

    Metrics that an earlier release has written have their present names.

    Raises:
        DamagedRunError: a line is damaged, or the file belongs to another run.
    """
    with _damage_named(run):
        rows = metrics_file.read_rows(run.folder, run.identity, is_sealed=run.is_sealed)
    return rename_reports(rows, _compute_of(run.settings))


def read_last_metrics(run: Run) -> dict[str, float]:
    """Return the metrics of a run's last report, with their present names; empty if it has not reported.

    Raises:
        DamagedRunError: a line is damaged, or the file belongs to another run.
    """
    with _damage_named(run):
        row = metrics_file.read_last_row(run.folder, run.identity, is_sealed=run.is_sealed)
    return rename_reports([row], _compute_of(run.settings))[0]


def _compute_of(settings: dict[str, Any]) -> float:
    return float(settings.get("compute", math.inf))


@contextlib.contextmanager
def _damage_named(run: Run) -> Iterator[None]:
    try:
        yield
    except DamagedLineError as error:
        raise damaged_metrics(run, str(error)) from error


def damaged_metrics(run: Run, reason: str) -> DamagedRunError:
    """Return the error that says that the metrics of a run cannot be used, why, and what to do."""
    path = run.folder / metrics_file.FILE
    return DamagedRunError(f"{path} cannot be used: {reason}; {run.remedy}", reason)


def check_no_report_lost(run: Run, metrics: Mapping[str, float], reported: int) -> None:
    """Check that the metrics of a run that has not ended have each report that the study has.

    Args:
        run: the run, which no driver trains now.
        metrics: of the last report in its file; empty if there is none.
        reported: number of the last report by the study, which gets each one later than that file; 0 if none.

    Raises:
        DamagedRunError: they do not.
    """
    last = int(metrics.get("step", 0))
    # A run that goes on from before its last report, because files of it were damaged, is behind the study for a while.
    aside = [*run.folder.parent.glob(f"{run.folder.name}.aside-*"), *run.folder.glob("checkpoint/*.aside-*")]
    if last < reported and not aside:
        raise damaged_metrics(run, f"the last report in it is {last}, and by the study it was {reported}")


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as text by dotted name."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = str(value)
    return flat
