"""Schedules: rows of what they give at moments of a run."""

import pytest

from trainables.schedules import learning_rate_factor, warmed_up


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", {0.0: 1.0, 0.5: 1.0, 1.0: 1.0}),
        ("cyclic", {0.0: 0.0, 0.2: 0.5, 0.4: 1.0, 0.7: 0.5, 1.0: 0.0}),
        ("step", {0.0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.74: 0.1, 0.75: 0.01, 1.0: 0.01}),
    ],
)
def test_learning_rate(schedule, factors):
    assert {at: pytest.approx(learning_rate_factor(schedule, at)) for at in factors} == factors


@pytest.mark.parametrize(
    ("warmup", "progress", "value"), [(0.0, 0.0, 0.3), (0.5, 0.0, 0.0), (0.5, 0.25, 0.15), (0.5, 0.9, 0.3)]
)
def test_warm_up(warmup, progress, value):
    assert warmed_up(0.3, warmup, progress) == pytest.approx(value)
