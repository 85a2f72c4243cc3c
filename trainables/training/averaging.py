"""An exponential moving average of a network's weights, often more robust than the weights of any one moment.

Running statistics, as batch normalisation keeps them, are averaged with the weights.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """The average of a network's weights over the updates so far.

    Attributes:
        network: a copy of the network that has the average as its weights; before the first update, those of the start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start with the network's present weights.

        Args:
            network: what is trained.
            decay: share of the average that stays at each update, in [0, 1). In the first n updates it is at most
                (1 + n) / (10 + n), so that the weights of the start are soon forgotten.
        """
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay
        self._num_updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's weights after an update."""
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        for average, weight in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(weight, 1.0 - decay)
        for kept, value in zip(self.network.buffers(), network.buffers(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(value, 1.0 - decay)
            else:
                kept.copy_(value)
        self._num_updates += 1

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint; see `restore`."""
        return {"classifier": self.network.state_dict(), "num_updates": self._num_updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.network.load_state_dict(state["classifier"])
        self._num_updates = state["num_updates"]
