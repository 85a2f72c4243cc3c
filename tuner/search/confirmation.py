"""The plan of confirming: a search's best configurations and its baselines, trained again with fresh seeds."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice, takewhile
from statistics import mean
from typing import Any

from search_spaces.configurations import baseline_configurations
from search_spaces.schema import Space
from trainables.evaluation.metrics import metric_named
from tuner.errors import UserError
from tuner.search.repeats import group_repeats
from tuner.statistics import image_noise, is_behind, share_of_alpha
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import front
from tuner.sweep.reader import CONFIRM, read_records, read_studies
from tuner.sweep.runs import Record, baseline_key, baseline_name, num_images

PLAN = "plan"
_FRESH = 100_000  # the seeds of confirming begin at the search's seed plus this


@dataclass(frozen=True)
class Configuration:
    """Settings that are trained again with fresh seeds.

    Attributes:
        name: key of the run that it comes from, ``trial-0007`` or ``baseline-standard``.
        settings: complete settings of a run, without ``seed``.
    """

    name: str
    settings: dict[str, Any]

    @property
    def is_baseline(self) -> bool:
        """Whether the others are compared with it."""
        return baseline_name(self.name) is not None


@dataclass(frozen=True)
class Plan:
    """Which configurations are confirmed, and with which seeds: round by round, each with one seed of all.

    Attributes:
        top: number of the search's best configurations that were asked for.
        seeds: fresh seeds, one for each round.
        configurations: those of the search and the baselines.
    """

    top: int
    seeds: tuple[int, ...]
    configurations: tuple[Configuration, ...]

    @property
    def racing(self) -> list[Configuration]:
        """The configurations of the search, from which the winner is chosen."""
        return [configuration for configuration in self.configurations if not configuration.is_baseline]


def read_plan(sweep: SweepFolder) -> Plan | None:
    """Return the plan that a sweep was last confirmed with; None if there is none."""
    study = read_studies(sweep).get(CONFIRM)
    raw: Any = study.attributes.get(PLAN) if study else None
    return _plan_of(raw) if raw else None


def _plan_of(raw: Mapping[str, Any]) -> Plan:
    return Plan(raw["top"], tuple(raw["seeds"]), tuple(Configuration(**fields) for fields in raw["configurations"]))


def make_plan(
    sweep: SweepFolder, top: int | None = None, num_seeds: int | None = None, baselines: Sequence[str] | None = None
) -> Plan:
    """Return the plan of confirming a sweep: an earlier plan is kept, and configurations that lead by now are added.

    Args:
        sweep: whose best configurations are confirmed.
        top: number of the best configurations; by default that of the earlier plan, else the space's.
        num_seeds: number of seeds of each configuration; likewise.
        baselines: names of the sweep's baselines to compare with; by default those of the earlier plan, else all.

    Raises:
        UserError: no configuration can be confirmed, there is no such baseline, or the earlier plan asks for more.
    """
    before = read_plan(sweep)
    defaults = sweep.space.confirm
    wanted = _at_least("--top", top, before.top if before else None, defaults.top)
    wanted_seeds = _at_least("--seeds", num_seeds, len(before.seeds) if before else None, defaults.seeds)
    known = {planned.name: planned for planned in before.configurations} if before else {}
    records = read_records(sweep)
    best = {leader.name: leader for leader in best_configurations(sweep.space, records)[:wanted]}
    if not known and not best:
        raise UserError(f"no configuration of {sweep.name!r} can be confirmed: `tuner compare {sweep.name}` says why")
    added = [] if before and baselines is None else _baselines(sweep, baselines)
    used = {record.run.settings["seed"] for record in records}
    fresh = (seed for seed in count(sweep.space.search.seed + _FRESH) if seed not in used)
    seeds = before.seeds if before else ()
    seeds += tuple(islice((seed for seed in fresh if seed not in seeds), wanted_seeds - len(seeds)))
    return Plan(wanted, seeds, tuple({**best, **{baseline.name: baseline for baseline in added}, **known}.values()))


def _at_least(option: str, requested: int | None, before: int | None, default: int) -> int:
    if requested is not None and before is not None and requested < before:
        raise UserError(f"{option} must not be below the {before} that are being confirmed already, got {requested}")
    return requested or before or default


def best_configurations(space: Space, records: Collection[Record]) -> list[Configuration]:
    """Return the configurations whose complete runs are all feasible, the best first.

    With several objectives, those of the Pareto front: the best by the first objective comes first.

    Args:
        space: of the sweep.
        records: of the runs of its search.
    """
    several = len(space.objectives) > 1
    nondominated = {record.run.key for record in front(records, space.objectives)} if several else None
    configurations = []
    for group in group_repeats(space, records):
        ended = [record for record in group.records if record.state == "complete"]
        is_eligible = bool(ended) and all(record.feasible for record in ended) and ended[0].run.kind == "trial"
        if is_eligible and (nondominated is None or any(record.run.key in nondominated for record in ended)):
            configurations.append(Configuration(ended[0].run.key, _without_seed(ended[0].run.settings)))
    return configurations


def newer_leaders(space: Space, records: Collection[Record], confirmed: Container[str]) -> list[str]:
    """Return the names of the configurations that are better in the search than all that were confirmed.

    Args:
        space: of the sweep.
        records: of the runs of its search.
        confirmed: names of the configurations that were confirmed.
    """
    names = [configuration.name for configuration in best_configurations(space, records)]
    return list(takewhile(lambda name: name not in confirmed, names))


def _baselines(sweep: SweepFolder, names: Sequence[str] | None) -> list[Configuration]:
    existing = baseline_configurations(sweep.space)
    for name in names or ():
        if name not in existing:
            raise UserError(f"{sweep.name!r} has no baseline {name!r}; it has {', '.join(existing) or 'none'}")
    chosen = existing if names is None else {name: existing[name] for name in names}
    return [Configuration(baseline_key(name), _without_seed(settings)) for name, settings in chosen.items()]


def _without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "seed"}


def race(space: Space, plan: Plan, records: Sequence[Record]) -> dict[str, str]:
    """Return which configurations are eliminated so far, and why; it follows from the records alone.

    A configuration is eliminated when one of its runs fails or is masked, and when it is clearly behind the leader.
    That is tested after each round but the first and the last, once all configurations that are left have ended it, see
    `tuner.statistics.is_behind`. So the best configuration is eliminated in at most one race of ten. Baselines do not
    race.

    Args:
        space: of the sweep.
        plan: configurations and seeds.
        records: of the plan's runs so far.

    Returns:
        The reason of each elimination, by the configuration's name.
    """
    runs = {(configuration_of(record), record.run.settings["seed"]): record for record in records}
    eliminated: dict[str, str] = {}
    for round_, seed in enumerate(plan.seeds, 1):
        racing = [configuration.name for configuration in plan.racing if configuration.name not in eliminated]
        started = {name: runs[name, seed] for name in racing if (name, seed) in runs}
        eliminated |= {name: reason for name, record in started.items() if (reason := _elimination_reason(record))}
        racing = [name for name in racing if name not in eliminated]
        if any(name not in started or started[name].state == "running" for name in racing):
            return eliminated
        if 2 <= round_ < len(plan.seeds):
            values = {name: [runs[name, each].value or 0.0 for each in plan.seeds[:round_]] for name in racing}
            images = num_images(next(iter(started.values())).run.settings, ranked=True) if started else 0
            eliminated |= _behind(space, values, images, share_of_alpha(round_, max(len(plan.racing) - 1, 1)))
    return eliminated


def _elimination_reason(record: Record) -> str | None:
    """Return why a run eliminates its configuration, None if it does not."""
    seed = record.run.settings["seed"]
    if record.state == "pruned":
        return record.reason
    if record.state == "failed":
        return f"failed with seed {seed}: {(record.reason or '').strip().splitlines()[-1]}"
    return f"masked with seed {seed}: its accuracies cannot be trusted" if record.is_masked else None


def _behind(space: Space, values: Mapping[str, list[float]], images: int, alpha: float) -> dict[str, str]:
    """Return the configurations that are clearly behind the leader, with the reason in words."""
    sign, metric = space.objective.sign, space.objective.metric
    leader = max(values, key=lambda name: sign * mean(values[name]), default=None)
    reasons = {}
    for name in values:
        leads = [sign * (best - own) for best, own in zip(values[leader or name], values[name], strict=True)]
        is_share = metric_named(metric).is_share
        noise = image_noise(mean(values[leader or name]), mean(values[name]), images) if is_share else 0.0
        if name != leader and is_behind(leads, alpha, resolution=1 / images if is_share else 0.0, noise=noise):
            lead = f"{100 * mean(leads):.1f} points" if is_share else f"{mean(leads):.3g}"
            reasons[name] = f"behind {leader} by {lead} of {metric_named(metric).words} after {len(leads)} seeds"
    return reasons


def configuration_of(record: Record) -> str:
    """Return the name of the configuration that a run of confirming belongs to."""
    return record.run.key.rpartition(".")[0]


def is_confirmed(space: Space, plan: Plan, records: Sequence[Record]) -> bool:
    """Return whether every run of a plan has ended, except those of configurations that are eliminated.

    Args:
        space: of the sweep.
        plan: configurations and seeds.
        records: of the plan's runs so far.
    """
    eliminated = race(space, plan, records)
    ended = {(configuration_of(record), record.run.settings["seed"]) for record in records if record.state != "running"}
    wanted = {
        (configuration.name, seed)
        for configuration in plan.configurations
        for seed in plan.seeds
        if configuration.name not in eliminated
    }
    return wanted <= ended and all(record.state != "running" for record in records)
