"""Schedules from the file to the training: what is expanded, drawn and configured is the schedule of its values."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import FloatRange, IntRange
from trainables.config import parse
from trainables.schedules import Schedule, value_at
from tuner.fields import configuration_for, parse_space

SPACE = """\
name: scheduled
trainable: gan
budget: {trials: 4, compute: 2}
parameters:
  classifier:
    learning_rate: {float: [1.0e-4, 1.0e-2], log: true, schedule: [constant, linear, stepped], knots: 4}
    schedule: {choice: [constant, cyclic], when: {learning_rate: constant}}
  generator:
    learning_rate: {float: [1.0e-5, 1.0e-3], schedule: linear}
    perturbation_bound: {choice: [0.1, 0.2, 0.3], schedule: [linear], at: [0.1, 0.9]}
  ratio:
    generator_turns: {int: [1, 16], log: true, schedule: [stepped, constant], at: [0, 0.3, 0.8]}
"""
RANGES = {
    ("classifier", "learning_rate"): (1e-4, 1e-2),
    ("generator", "learning_rate"): (1e-5, 1e-3),
    ("generator", "perturbation_bound"): (0.1, 0.3),
    ("ratio", "generator_turns"): (1, 16),
}
MOMENTS = {"perturbation_bound": [0.1, 0.9], "generator_turns": [0.0, 0.3, 0.8]}


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), progress=st.floats(0, 1))
def test_an_expanded_schedule_is_the_schedule_of_its_values_and_stays_in_its_range(seed, progress):
    rng = random.Random(seed)
    chosen = {}

    def suggest(one):
        domain = one.domain
        if isinstance(domain, FloatRange):
            chosen[one.name] = rng.uniform(domain.low, domain.high)
        else:
            chosen[one.name] = (
                rng.randint(domain.low, domain.high) if isinstance(domain, IntRange) else rng.choice(domain.values)
            )
        return chosen[one.name]

    space = parse_space(SPACE, "my.yaml")
    config = parse(configuration_for(space, space.settings(suggest), 0))
    for (section, key), (low, high) in RANGES.items():
        name = f"{section}.{key}"
        kind = chosen.get(f"{name}.kind", "linear")
        values = [value for path, value in chosen.items() if path.startswith(f"{name}.knot_")]
        direct = Schedule[float](kind=kind, values=values, at=None if kind == "constant" else MOMENTS.get(key))
        now = value_at(getattr(getattr(config, section), key), progress)
        assert now == direct.value(progress)
        assert low <= now <= high
