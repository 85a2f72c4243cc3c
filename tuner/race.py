"""The race of configurations that are confirmed: who has left it, and why, follows from the runs' results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from search_spaces.schema import Space
from tuner.confirm_plan import Plan
from tuner.records import Record, num_images
from tuner.statistics import image_noise, is_behind, share_of_alpha


def race(space: Space, plan: Plan, records: Sequence[Record]) -> dict[str, str]:
    """Return which configurations have left the race, and why: it follows from what the rounds before showed.

    A round counts when all who are in the race have ended it. From the second on, but for the last, who is clearly
    behind the leader leaves: see `statistics.is_behind`. So the best one is lost in at most one race of ten.
    """
    runs = {(configuration_of(record), record.run.settings["seed"]): record for record in records}
    left: dict[str, str] = {}
    for round_, seed in enumerate(plan.seeds, 1):
        racing = [one.name for one in plan.racing if one.name not in left]
        ended = {name: runs[name, seed] for name in racing if (name, seed) in runs}
        left |= {name: why for name, record in ended.items() if (why := _why_out(record))}
        racing = [name for name in racing if name not in left]
        if any(name not in ended or ended[name].state == "running" for name in racing):
            return left
        if 2 <= round_ < len(plan.seeds):
            values = {name: [runs[name, each].value or 0.0 for each in plan.seeds[:round_]] for name in racing}
            images = num_images(next(iter(ended.values())).run.settings, ranked=True) if ended else 0
            left |= _behind(space, values, images, share_of_alpha(round_, max(len(plan.racing) - 1, 1)))
    return left


def _why_out(record: Record) -> str | None:
    seed = record.run.settings["seed"]
    if record.state == "pruned":
        return record.reason
    if record.state == "failed":
        return f"failed with seed {seed}: {(record.reason or '').strip().splitlines()[-1]}"
    return f"masked with seed {seed}: its accuracies cannot be trusted" if record.is_masked else None


def _behind(space: Space, values: Mapping[str, list[float]], images: int, alpha: float) -> dict[str, str]:
    sign, metric = space.objective.sign, space.objective.metric
    leader = max(values, key=lambda name: sign * mean(values[name]), default=None)
    out = {}
    for name in values:
        leads = [sign * (one - other) for one, other in zip(values[leader or name], values[name], strict=True)]
        is_share = metric.endswith("_accuracy")
        noise = image_noise(mean(values[leader or name]), mean(values[name]), images) if is_share else 0.0
        if name != leader and is_behind(leads, alpha, resolution=1 / images if is_share else 0.0, noise=noise):
            lead = f"{100 * mean(leads):.1f} points" if is_share else f"{mean(leads):.3g}"
            out[name] = f"behind {leader} by {lead} of {metric.replace('_', ' ')} after {len(leads)} seeds"
    return out


def configuration_of(record: Record) -> str:
    """Return the name of the configuration that a confirming run belongs to."""
    return record.run.key.rpartition(".")[0]


def is_confirmed(space: Space, plan: Plan, records: Sequence[Record]) -> bool:
    """Return whether every run of a plan has ended, or is not needed because its configuration has left the race."""
    left = race(space, plan, records)
    ended = {(configuration_of(one), one.run.settings["seed"]) for one in records if one.state != "running"}
    wanted = {(one.name, seed) for one in plan.configurations for seed in plan.seeds if one.name not in left}
    return wanted <= ended and all(one.state != "running" for one in records)
