"""Tests that every recipe passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pytest
import torch

from trainables.config import parse
from trainables.data.tensors import Dataset, load
from trainables.storage import checkpoint
from trainables.testing.threads import SingleThreadedTests
from trainables.training import registry
from trainables.training.loop import DivergedError, TrainingLoop

NewLoop: TypeAlias = Callable[..., TrainingLoop]
"""Makes a loop of a tiny run; keyword arguments replace whole sections of its settings."""
_TINY: Mapping[str, Any] = {
    "dataset": {"name": "digits", "validation": 200},
    "evaluation": {"epsilon": 0.1, "watch_images": 20, "rank_images": 30},
    "classifier": {"architecture": "mlp", "learning_rate": 1e-3},
    "batch_size": 16,
    "compute": 2.0,
    "report_every": 0.5,
}


@cache
def _few_digits() -> Dataset:
    """Return a training set of 300, so that an epoch is 19 minibatches of 16, the last one smaller."""
    digits = load("digits", validation=200)
    return replace(digits, train=digits.train.head(300))


def _finish(loop: TrainingLoop) -> list[dict[str, float]]:
    """Return the metrics of all reports that are left, without how many seconds they took."""
    reports = []
    while not loop.done:
        reports.append({name: value for name, value in loop.step().items() if not name.endswith("_s")})
    return reports


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return what a nested state holds, by path, without the seconds."""
    if not isinstance(value, dict | list | tuple):
        return {} if path.endswith("_s") else {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: leaf for key, item in items for name, leaf in _leaves(item, f"{path}/{key}").items()}


def _differences(loop: TrainingLoop, other: TrainingLoop) -> list[str]:
    """Return the paths of what differs in the states of two loops."""
    ours, theirs = _leaves(loop.state()), _leaves(other.state())
    return [path for path in {**ours, **theirs} if not _is_equal(ours.get(path), theirs.get(path))]


def _is_equal(leaf: object, other: object) -> bool:
    if isinstance(leaf, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(leaf, other)
    return type(leaf) is type(other) and leaf == other


class RecipeTests(SingleThreadedTests):
    """Tests of a recipe; a class made from this names it.

    Attributes:
        recipe: its name.
        settings: its own that a run of a few minibatches needs; those of all recipes are tiny already.
    """

    recipe: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def new_loop(self) -> NewLoop:
        """Return a function that makes the loop of a tiny run."""
        return self.maker(self.recipe, self.settings)

    @staticmethod
    def maker(recipe: str, settings: Mapping[str, Any]) -> NewLoop:
        """Return a function that makes the loop of a tiny run of a recipe."""

        def make(**changes: Any) -> TrainingLoop:
            return registry.build(parse({**_TINY, "trainable": recipe, **settings, **changes}), _few_digits())

        return make

    def test_goes_on_bit_for_bit_from_a_checkpoint(self, new_loop: NewLoop, tmp_path: Path) -> None:
        """A run that was saved and restored has the reports and the state of one that was never interrupted."""
        whole, interrupted, restored = new_loop(), new_loop(), new_loop()
        expected = _finish(whole)
        for _ in range(2):
            interrupted.step()
        checkpoint.save(tmp_path, 2, interrupted.state())
        saved = checkpoint.load_newest(tmp_path)
        assert saved is not None
        restored.restore(saved)
        assert not _differences(restored, interrupted)
        assert _finish(restored) == expected[2:]
        assert not _differences(restored, whole)

    def test_spends_its_compute_and_at_most_one_minibatch_more(self, new_loop: NewLoop) -> None:
        """What a minibatch costs is added to the meter, so that recipes can be compared at equal compute."""
        loop = new_loop(compute=1.2, report_every=9.0)
        (report,) = _finish(loop)
        state = loop.meter.state()
        epoch = state["flops"] / loop.meter.compute
        most = sum(state["flops_per_image"].values()) * loop.config.batch_size / epoch
        assert 1.2 <= report["compute"] <= 1.2 + most
        assert all(math.isfinite(value) for value in report.values())

    def test_notices_that_it_diverges(self, new_loop: NewLoop) -> None:
        """A loss or a weight that is no number ends the run with an error, not with a result."""
        with pytest.raises(DivergedError):
            _finish(new_loop(classifier={"architecture": "mlp", "learning_rate": 1e20}))

    def test_follows_from_the_seed_alone(self, new_loop: NewLoop) -> None:
        """One seed gives equal reports twice, another one others, and global random numbers play no part."""
        state = torch.random.get_rng_state()
        first, again, other = (_finish(new_loop(seed=seed, compute=1.0)) for seed in (1, 1, 2))
        assert torch.equal(torch.random.get_rng_state(), state)
        assert first == again
        assert first != other
