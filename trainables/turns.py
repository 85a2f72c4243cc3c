"""The turn machine of the GAN loop: counts minibatches into turns and cycles, and asks the schedule who is next."""

from __future__ import annotations

import math
from typing import Any

import torch

from trainables.loop import LossMean
from trainables.ratios import RatioSchedule


class Turns:
    """Where in a cycle the loop stands. A cycle is some generator turns and the classifier turn that ends it."""

    _STATE = ("_generator_is_on", "_batches_left", "_turns_in_cycle", "_last_loss", "cycles", "generator_turns")

    def __init__(self, ratio: RatioSchedule, batches_per_turn: int) -> None:
        self._ratio = ratio
        self._batches_per_turn = batches_per_turn
        self._loss = LossMean()
        self._generator_is_on = False
        self._batches_left = 0
        self._turns_in_cycle = 0
        self._last_loss = math.inf
        self.cycles = 0
        self.generator_turns = 0

    @property
    def batches_left(self) -> int:
        """Minibatches that the present turn still lacks."""
        return self._batches_left

    def generator_is_next(self, progress: float) -> bool:
        """Return whose minibatch is next; between turns the schedule decides."""
        if self._batches_left == 0:
            self._generator_is_on = self._ratio.generator_continues(self._turns_in_cycle, self._last_loss, progress)
            self._batches_left = self._batches_per_turn
        return self._generator_is_on

    def count(self, generator_loss: torch.Tensor | None) -> None:
        """Count one minibatch of the present turn.

        Args:
            generator_loss: what the schedule watches; None for the classifier's, and where the generator had no image.
        """
        if generator_loss is not None:
            self._loss.add(generator_loss)
        self._batches_left -= 1
        if self._batches_left > 0:
            return
        if self._generator_is_on:
            loss = self._loss.take()
            self._last_loss = self._last_loss if loss is None else loss
            self._turns_in_cycle += 1
            self.generator_turns += 1
        else:
            self._turns_in_cycle = 0
            self.cycles += 1

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {**{name: getattr(self, name) for name in self._STATE}, "_loss": self._loss.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self._loss.restore(state["_loss"])
        for name in self._STATE:
            setattr(self, name, state[name])
