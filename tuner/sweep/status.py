"""How far a sweep has come, how it ended, and what it has cost, from its folder alone."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.errors import UserError
from tuner.sweep.control import phase_of
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, read_metrics
from tuner.sweep.state import seconds_spent, spent_budget, state_of


def brief(sweep: SweepFolder, records: Sequence[Record]) -> dict[str, Any]:
    """Return how far a sweep has come as plain data; the runs' metrics are not needed.

    ``trials`` and ``baselines`` count runs by their state, where those that no driver works on are ``unfinished``.
    """
    state, why = _state(sweep, records)
    objective = sweep.space.objective
    winner = best(records, objective.mode)
    counts = {
        kind: Counter(
            "unfinished" if record.state == "running" and state != "running" else record.state
            for record in records
            if record.run.kind == kind
        )
        for kind in ("trial", "baseline")
    }
    return {
        "name": sweep.name,
        "state": state,
        "why": why,
        "num_trials": sweep.num_trials,
        "trials": dict(counts["trial"]),
        "baselines": dict(counts["baseline"]),
        "best": winner and {"run": winner.run.key, "metric": objective.metric, "value": winner.value},
        "created": sweep.created,
    }


def brief_of(name: str, home: Path) -> dict[str, Any]:
    """Return what `brief` does of the sweep of that name; of one that this release cannot read, why."""
    try:
        sweep = SweepFolder.open(name, home=home)
        return brief(sweep, read_records(sweep))
    except UserError as error:
        nothing: dict[str, Any] = {"trials": {}, "baselines": {}, "num_trials": 0, "best": None, "created": None}
        return {"name": name, "state": "unreadable", "why": str(error).splitlines()[0], **nothing}


def full(sweep: SweepFolder, records: Sequence[Record]) -> dict[str, Any]:
    """Return what `brief` does, with what the sweep has cost so far and the seconds that are left, as far as known.

    ``compute`` is in epochs of standard training; ``cpu_hours`` and ``gpu_hours`` are what runs occupied while they
    trained and were measured. What a crash lost and was done again is not counted.
    """
    seconds = {name: sum(record.metrics.get(name, 0.0) for record in records) for name in ("train_s", "evaluation_s")}
    hours = sum(seconds.values()) / 3600
    resources = sweep.space.resources
    cost = {
        "compute": sum(record.metrics.get("compute", 0.0) for record in records),
        **seconds,
        "cpu_hours": hours * resources.cpu,
        "gpu_hours": hours * resources.gpu,
    }
    about = brief(sweep, records)
    left = _seconds_left(sweep, records) if about["state"] == "running" else None
    return {**about, "cost": cost, "seconds_left": left, "driver": _driver(sweep, about["state"])}


def line(about: dict[str, Any]) -> str:
    """Return what `brief` found as one line."""
    counts = Counter(about["trials"]) + Counter(about["baselines"])
    runs = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no runs yet"
    ended = sum(count for state, count in about["trials"].items() if state not in ("running", "unfinished"))
    text = f"{about['name']}: {about['state']}, {ended} of {about['num_trials']} trials ({runs})"
    if about["best"]:
        text += f", best {about['best']['run']} {about['best']['metric']} {100 * about['best']['value']:.1f}"
    return f"{text}; {about['why']}" if about["why"] else text


def lines(about: dict[str, Any]) -> list[str]:
    """Return what `full` found as lines for a person."""
    cost, driver = about["cost"], about["driver"]
    text = [
        line(about),
        f"cost so far: {cost['compute']:.1f} epochs of compute; {duration(cost['train_s'])} of training and "
        f"{duration(cost['evaluation_s'])} of evaluation; {cost['cpu_hours']:.2f} CPU hours"
        + (f", {cost['gpu_hours']:.2f} GPU hours" if cost["gpu_hours"] else ""),
    ]
    if about["seconds_left"] is not None:
        text.append(f"about {duration(about['seconds_left'])} left")
    if driver:
        text.append(f"driven by process {driver['pid']} on {driver['host']}")
    return text


def _state(sweep: SweepFolder, records: Sequence[Record]) -> tuple[str, str | None]:
    """Return a sweep's state, ``paused`` among them, and why it is in it, if there is more to say."""
    state, why = state_of(sweep, records)
    phase = phase_of(sweep)
    if state == "running" and phase == "paused":
        return "paused", None
    if state == "running" and phase in ("pausing", "stopping"):
        return state, f"{phase}: each run goes on to its next report"
    if state == "interrupted" and phase == "stopped":
        return state, "stopped on request"
    num_ended = sum(record.run.kind == "trial" and record.state != "running" for record in records)
    if state == "completed" and num_ended < sweep.num_trials:
        why = spent_budget(sweep.space, records, seconds_spent(records)) or ""
    return state, why or None


def _driver(sweep: SweepFolder, state: str) -> dict[str, Any] | None:
    owner = sweep.folder / "owner.json"
    if state not in ("running", "paused") or not owner.exists():
        return None
    who: dict[str, Any] = json.loads(owner.read_bytes())
    return who


def _seconds_left(sweep: SweepFolder, records: Sequence[Record]) -> float | None:
    """Return the time that the rest takes at the pace of this driver, None before it has got anywhere."""
    began = (sweep.folder / "owner.json").stat().st_mtime
    before = now = 0.0
    for record in records:
        per_run = record.run.settings["compute"]
        rows = read_metrics(record.run.folder)
        earlier = [row["compute"] for row in rows if row["time"] < began]
        has_ended = record.state != "running"
        ended_before = has_ended and len(earlier) == len(rows)
        before += 1.0 if ended_before else max(earlier, default=0.0) / per_run
        now += 1.0 if has_ended else record.metrics.get("compute", 0.0) / per_run
    if now <= before:
        return None
    by_runs = (time.time() - began) * max(sweep.num_runs - now, 0.0) / (now - before)
    budget = sweep.space.budget.time
    return by_runs if budget is None else min(by_runs, max(budget - seconds_spent(records), 0.0))


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``45 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
