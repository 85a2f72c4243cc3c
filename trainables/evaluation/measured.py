"""What was measured on the device, and how metrics are made of it on the host, so that nothing has to wait in between.

So an evaluation has two parts: one that only submits work to the device, and one that only computes with numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn


class MeasureRunner(Protocol):
    """Returns what a function measures of networks; it is called with these, a random generator, and some numbers.

    It may repeat what a function of the same kind did before: functions of one kind do the same operations, whatever
    the networks' weights and the numbers are. The networks that the function gets may be copies.
    """

    def __call__(  # noqa: D102 - see the class
        self,
        kind: Hashable,
        seed: int,
        networks: Sequence[nn.Module],
        function: Callable[..., torch.Tensor],
        /,
        *numbers: float,
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class Measured:
    """A measurement that may still be under way.

    Attributes:
        tensors: what was measured, on the device.
        metrics: returns the metrics of these tensors, which are given to it on the host.
    """

    tensors: tuple[torch.Tensor, ...]
    metrics: Callable[[Sequence[torch.Tensor]], dict[str, float]]

    def read(self) -> dict[str, float]:
        """Wait for the measurement and return its metrics."""
        return self.metrics([tensor.cpu() for tensor in self.tensors])


def joined(first: Measured, second: Measured) -> Measured:
    """Return two measurements as one, with the metrics of both."""
    count = len(first.tensors)
    return Measured(
        (*first.tensors, *second.tensors),
        lambda values: {**first.metrics(values[:count]), **second.metrics(values[count:])},
    )


def as_called(device: torch.device) -> MeasureRunner:
    """Return a runner that only calls the function, with a random generator on a device."""

    def run(
        _kind: Hashable,
        seed: int,
        networks: Sequence[nn.Module],
        function: Callable[..., torch.Tensor],
        /,
        *numbers: float,
    ) -> torch.Tensor:
        return function(networks, torch.Generator(device=device).manual_seed(seed), *numbers)

    return run
