"""How far a sweep has come, how it ended, and what it has cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from search_spaces.errors import SpaceError
from trainables.common.valid_json import dump_json
from trainables.common.words import counted
from trainables.evaluation.metrics import GPU_SHARE, PACK, memory_warning, metric_named, saturation_warning
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.storage.driver_lock import Driver
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import Snapshot, read_snapshot
from tuner.sweep.state import SweepState, convergence_sentence, seconds_spent, spent_budget

_FEW_HOURS = 0.1  # of processors: so few are not told


@dataclass(frozen=True)
class BestRun:
    """The best trial: its key, and the name and value of the first objective."""

    run: str
    metric: str
    value: float | None


@dataclass(frozen=True)
class Cost:
    """What a sweep has cost so far; what a crash lost and was done again is not counted.

    Attributes:
        compute: epochs of standard training.
        train_s: seconds of training, summed over runs.
        evaluation_s: seconds of evaluation, summed over runs.
        cpu_hours: hours of CPUs that runs occupied while they trained and were evaluated.
        gpu_hours: hours of GPUs, likewise.
    """

    compute: float
    train_s: float
    evaluation_s: float
    cpu_hours: float
    gpu_hours: float


@dataclass(frozen=True)
class SweepSummary:
    """How far a sweep has come.

    Attributes:
        name: of the sweep.
        state: ``paused`` is a running sweep whose driver waits, ``unreadable`` one that this release cannot read.
        why: more about the state; None if there is nothing to add.
        num_trials: trials that the sweep asks for.
        trials: number of trials by state; those that no driver works on are ``unfinished``, not ``running``.
        baselines: number of baselines, likewise.
        num_baselines: baselines that the sweep asks for, each seed counted.
        best: the best trial; None if no trial is eligible.
        created: when the sweep was created, as ISO 8601; None if it is unreadable.
        problems: what is wrong with files of the sweep, and what to do about it.
    """

    name: str
    state: SweepState | Literal["paused", "unreadable"]
    why: str | None
    num_trials: int
    trials: dict[str, int]
    baselines: dict[str, int]
    best: BestRun | None
    created: str | None
    problems: tuple[str, ...] = field(default=(), kw_only=True)
    num_baselines: int = field(default=0, kw_only=True)

    def to_json(self) -> str:
        """Return what ``tuner status --format json`` prints."""
        return dump_json(asdict(self))

    @staticmethod
    def list_to_json(summaries: Sequence[SweepSummary]) -> str:
        """Return what ``tuner status --format json`` prints of several sweeps."""
        return dump_json([asdict(summary) for summary in summaries])


@dataclass(frozen=True)
class SweepStatus(SweepSummary):
    """How far a sweep has come, and what it costs.

    Attributes:
        cost: so far.
        seconds_left: an estimate; None if the sweep is not running or its driver has only begun.
        driver: the process that drives the sweep; None if none does.
        warnings: what the last report of a run warns of, by the run's key.
        convergence: how probable something better is, in words, if that may end the search.
    """

    cost: Cost
    seconds_left: float | None
    driver: Driver | None
    warnings: dict[str, str] = field(default_factory=dict, kw_only=True)
    convergence: str | None = field(default=None, kw_only=True)


def summarize(snapshot: Snapshot) -> SweepSummary:
    """Return how far a sweep has come."""
    state, why = _state(snapshot)
    winner = snapshot.best
    counts = {
        kind: Counter(
            "unfinished" if record.state == "running" and state != "running" else record.state
            for record in snapshot.records
            if record.run.kind == kind
        )
        for kind in ("trial", "baseline")
    }
    return SweepSummary(
        name=snapshot.name,
        state=state,
        why=why,
        num_trials=snapshot.sweep.num_trials,
        trials=dict(counts["trial"]),
        baselines=dict(counts["baseline"]),
        best=BestRun(winner.run.key, snapshot.space.objective.metric, winner.value) if winner else None,
        created=snapshot.sweep.created,
        problems=snapshot.problems,
        num_baselines=snapshot.sweep.num_runs - snapshot.sweep.num_trials,
    )


def summarize_named(name: str, home: Path | SweepStore) -> SweepSummary:
    """Return how far the sweep of that name has come; of an unreadable one, why it is.

    Args:
        name: of the sweep.
        home: the store, or folder, of all sweeps.
    """
    try:
        return summarize(read_snapshot(SweepFolder.open(name, home=home)))
    except (UserError, SpaceError) as error:
        why = str(error)
        return SweepSummary(name, "unreadable", why.splitlines()[0], 0, {}, {}, None, None, problems=(why,))


def status_of(snapshot: Snapshot) -> SweepStatus:
    """Return how far a sweep has come, what it has cost, and how long it will take.

    Args:
        snapshot: with the rows of all reports, from which the pace of a running sweep is known.
    """
    summary = summarize(snapshot)
    return SweepStatus(
        **vars(summary),
        cost=_cost(snapshot),
        seconds_left=_seconds_left(snapshot) if summary.state == "running" else None,
        driver=snapshot.driver if summary.state in ("running", "paused") else None,
        warnings=_warnings(snapshot),
        convergence=_convergence(snapshot),
    )


def _convergence(snapshot: Snapshot) -> str | None:
    return None if snapshot.space.budget.until is None else convergence_sentence(snapshot.space, snapshot.records)


def _warnings(snapshot: Snapshot) -> dict[str, str]:
    warnings = {
        record.run.key: "; ".join(filter(None, (memory_warning(record.metrics), saturation_warning(record.metrics))))
        for record in snapshot.records
    }
    return {key: warning for key, warning in warnings.items() if warning}


def summary_line(summary: SweepSummary) -> str:
    """Return a summary as one line of text, with the first problem in it."""
    return "; ".join([_progress_line(summary, why=False), *notes_of(summary)])


def _progress_line(summary: SweepSummary, *, why: bool = True) -> str:
    text = f"{summary.name}: {summary.state}"
    if summary.state != "unreadable":
        text += f", {describe_runs(summary)}"
    if summary.best:
        text += f", best {summary.best.run} {summary.best.metric} {shown_value(summary.best)}"
    return f"{text}; {summary.why}" if why and summary.why else text


def shown_value(best: BestRun) -> str:
    """Return the value of the best trial as it is shown: shares of the images are in percent."""
    value = best.value or 0.0
    return f"{100 * value if metric_named(best.metric).is_share else value:.1f}"


def describe_runs(summary: SweepSummary) -> str:
    """Return how many runs a sweep asks for and what has become of them: the numbers add up."""
    trials = describe_counts(summary.trials, summary.num_trials, "trials", summary.state == "completed")
    if not summary.num_baselines:
        return trials
    if summary.baselines == {"complete": summary.num_baselines}:
        return f"{trials}; {counted(summary.num_baselines, 'baseline')}"
    return f"{trials}; {describe_counts(summary.baselines, summary.num_baselines, 'baselines')}"


def describe_counts(counts: Mapping[str, int], total: int, what: str, has_ended: bool = False) -> str:
    """Return what has become of a number of runs: ``6 of 8 trials complete, 2 pruned``.

    Args:
        counts: of the runs that have begun, by state.
        total: how many are asked for.
        what: they are.
        has_ended: whether those that have not begun never will.
    """
    others = [f"{count:,} {state}" for state, count in counts.items() if state != "complete" and count]
    waiting = total - sum(counts.values())
    if waiting > 0:
        others.append(f"{waiting:,} {'not needed' if has_ended else 'to come'}")
    return ", ".join([f"{counts.get('complete', 0):,} of {total:,} {what} complete", *others])


def notes_of(summary: SweepSummary) -> list[str]:
    """Return what a person should know beside a sweep's state: why it is so, and what is wrong with its files."""
    notes = [summary.why] if summary.why else []
    if summary.problems and summary.state != "unreadable":
        more = f" (and {len(summary.problems) - 1} more)" if len(summary.problems) > 1 else ""
        notes.append(f"{summary.problems[0]}{more}")
    return notes


def status_lines(status: SweepStatus) -> list[str]:
    """Return a status as lines of text, without its problems, of which each may be long."""
    cost, driver = status.cost, status.driver
    text = [
        _progress_line(status),
        f"cost so far: {cost.compute:.1f} epochs of compute; {format_duration(cost.train_s)} of training and "
        f"{format_duration(cost.evaluation_s)} of evaluation"
        + (f"; {cost.cpu_hours:.2f} CPU hours" if cost.cpu_hours >= _FEW_HOURS else "")
        + (f", {cost.gpu_hours:.2f} GPU hours" if cost.gpu_hours >= _FEW_HOURS else ""),
    ]
    if status.convergence and status.convergence != status.why:
        text.append(status.convergence)
    if status.seconds_left is not None:
        text.append(f"about {format_duration(status.seconds_left)} left")
    if driver:
        command = f": `tuner {driver.command} {status.name}`" if driver.command else ""
        text.append(f"driven by process {driver.pid} on {driver.host}{command}")
    return text + [f"{key}: {warning}" for key, warning in status.warnings.items()]


def _state(snapshot: Snapshot) -> tuple[SweepState | Literal["paused"], str | None]:
    """Return the state, ``paused`` among them, and what there is to add to it."""
    state, why, phase = snapshot.state, snapshot.reason, snapshot.phase
    if state == "running" and phase == "paused":
        return "paused", None
    is_training = any(record.state == "running" for record in (*snapshot.records, *snapshot.confirming_records))
    if state == "running" and phase in ("pausing", "stopping"):
        how = "each run goes on to its next report" if is_training else "what is at work is finished first"
        return state, f"{phase}: {how}"
    if state == "interrupted" and phase == "stopped":
        return state, "stopped on request"
    num_ended = sum(record.run.kind == "trial" and record.state != "running" for record in snapshot.records)
    if state == "completed" and num_ended < snapshot.sweep.num_trials:
        why = spent_budget(snapshot.space, snapshot.records, seconds_spent(snapshot.records)) or ""
    return state, why or None


def _cost(snapshot: Snapshot) -> Cost:
    compute, train_s, evaluation_s = (
        sum(record.metrics.get(name, 0.0) for record in snapshot.records)
        for name in ("compute", "train_s", "evaluation_s")
    )
    resources = snapshot.space.resources
    cpu_s = gpu_s = 0.0
    for record in snapshot.records:
        seconds = record.metrics.get("train_s", 0.0) + record.metrics.get("evaluation_s", 0.0)
        cpu_s += seconds * resources.cpu / (resources.pack or record.metrics.get(PACK, 1))
        gpu_s += seconds * record.metrics.get(GPU_SHARE, resources.gpu or 0.0)
    return Cost(compute, train_s, evaluation_s, cpu_s / 3600, gpu_s / 3600)


def _seconds_left(snapshot: Snapshot) -> float | None:
    """Return the time that the rest takes at the pace of the current driver; None before it has got anywhere."""
    if snapshot.driver is None:
        return None
    began = snapshot.driven_since
    before = now = 0.0
    for record in snapshot.records:
        per_run = record.run.settings["compute"]
        rows = snapshot.rows[record.run.key]
        earlier = [row["compute"] for row in rows if row["time"] < began]
        has_ended = record.state != "running"
        ended_before = has_ended and len(earlier) == len(rows)
        before += 1.0 if ended_before else max(earlier, default=0.0) / per_run
        now += 1.0 if has_ended else record.metrics.get("compute", 0.0) / per_run
    if now <= before:
        return None
    by_runs = (snapshot.time - began) * max(snapshot.sweep.num_runs - now, 0.0) / (now - before)
    budget = snapshot.space.budget.time
    return by_runs if budget is None else min(by_runs, max(budget - seconds_spent(snapshot.records), 0.0))


def format_duration(seconds: float) -> str:
    """Return seconds in a unit that fits: ``45 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
