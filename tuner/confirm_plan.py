"""What is confirmed: a search's best configurations and its baselines, each with seeds that the search never had."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, takewhile
from typing import Any

from tuner.errors import UserError
from tuner.fields import baseline_configurations
from tuner.records import front
from tuner.repeats import repeats
from tuner.studies import CONFIRM, read_attributes, read_records
from tuner.sweep import Sweep

PLAN = "plan"
_FRESH = 100_000  # seeds of confirming begin so far above the search's


@dataclass(frozen=True)
class Configuration:
    """One that is confirmed: its name is the key of the run that it comes from, its settings lack only a seed."""

    name: str
    settings: dict[str, Any]

    @property
    def is_baseline(self) -> bool:
        """Whether it is what the others are compared with."""
        return self.name.startswith("baseline-")


@dataclass(frozen=True)
class Plan:
    """Which configurations run with which seeds: every one with the first seed before any has the second."""

    top: int
    seeds: tuple[int, ...]
    configurations: tuple[Configuration, ...]

    @property
    def racing(self) -> list[Configuration]:
        """The configurations that one is to be chosen from."""
        return [one for one in self.configurations if not one.is_baseline]


def read_plan(sweep: Sweep) -> Plan | None:
    """Return what is to be confirmed of a sweep; None as long as nothing is."""
    raw = read_attributes(sweep, CONFIRM).get(PLAN)
    return _plan_of(raw) if raw else None


def _plan_of(raw: Mapping[str, Any]) -> Plan:
    return Plan(raw["top"], tuple(raw["seeds"]), tuple(Configuration(**one) for one in raw["configurations"]))


def make_plan(
    sweep: Sweep, top: int | None = None, num_seeds: int | None = None, baselines: Sequence[str] | None = None
) -> Plan:
    """Return what is to be confirmed of a sweep: what was planned before stays, and what is best by now comes to it.

    Args:
        sweep: whose best configurations are confirmed.
        top: how many of them; by default as many as before, at first the space's number.
        num_seeds: with how many seeds each; likewise.
        baselines: names of those of the sweep's baselines to compare with; by default all that the sweep has.

    Raises:
        UserError: no configuration can be confirmed, there is no such baseline, or more has been planned already.
    """
    before = read_plan(sweep)
    defaults = sweep.space.confirm
    wanted = _at_least("--top", top, before.top if before else None, defaults.top)
    wanted_seeds = _at_least("--seeds", num_seeds, len(before.seeds) if before else None, defaults.seeds)
    known = {one.name: one for one in before.configurations} if before else {}
    best = {one.name: one for one in best_configurations(sweep)[:wanted]}
    if not known and not best:
        raise UserError(f"no configuration of {sweep.name!r} can be confirmed: `tuner compare {sweep.name}` says why")
    beside = {} if before and baselines is None else {one.name: one for one in _baselines(sweep, baselines)}
    used = {record.run.settings["seed"] for record in read_records(sweep)}
    fresh = (seed for seed in count(sweep.space.search.seed + _FRESH) if seed not in used)
    seeds = before.seeds if before else ()
    seeds += tuple(islice((seed for seed in fresh if seed not in seeds), wanted_seeds - len(seeds)))
    return Plan(wanted, seeds, tuple({**best, **beside, **known}.values()))


def _at_least(option: str, asked: int | None, before: int | None, default: int) -> int:
    if asked is not None and before is not None and asked < before:
        raise UserError(f"{option} must not be below the {before} that are being confirmed already, got {asked}")
    return asked or before or default


def best_configurations(sweep: Sweep) -> list[Configuration]:
    """Return the configurations that ran to the end and kept the constraints with every seed, the best first.

    With several objectives, those of the front: the best by the first objective comes first.
    """
    objectives = sweep.space.objectives
    standing = {one.run.key for one in front(read_records(sweep), objectives)} if len(objectives) > 1 else None
    found = []
    for group in repeats(sweep):
        ended = [record for record in group.records if record.state == "complete"]
        is_able = bool(ended) and all(record.feasible for record in ended) and ended[0].run.kind == "trial"
        if is_able and (standing is None or any(record.run.key in standing for record in ended)):
            found.append(Configuration(ended[0].run.key, _without_seed(ended[0].run.settings)))
    return found


def newer_leaders(sweep: Sweep, confirmed: Container[str]) -> list[str]:
    """Return the configurations that the search has found better than any of those that were confirmed."""
    return [one.name for one in takewhile(lambda one: one.name not in confirmed, best_configurations(sweep))]


def _baselines(sweep: Sweep, names: Sequence[str] | None) -> list[Configuration]:
    there = baseline_configurations(sweep.space)
    for name in names or ():
        if name not in there:
            raise UserError(f"{sweep.name!r} has no baseline {name!r}; it has {', '.join(there) or 'none'}")
    chosen = there if names is None else {name: there[name] for name in names}
    return [Configuration(f"baseline-{name}", _without_seed(settings)) for name, settings in chosen.items()]


def _without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "seed"}
