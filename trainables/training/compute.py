"""Compute: the cost of training in epochs of standard training of the same classifier.

It is counted in floating-point operations, not timed, so that it is the same on every machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trainables.attacks.losses import cross_entropy
from trainables.common.tasks import ImageShape

Result = TypeVar("Result")


class _FlopCounter(TorchDispatchMode):
    """Adds up the floating-point operations of all torch functions that run in its context, backward passes included.

    torch's own FlopCounterMode also hooks every module, which `torch.autograd.grad` for an input does not survive.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: otherwise torch imports its compiler, to keep it out of here."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=output)
        return output


def standard_flops_per_image(classifier: nn.Module, image_shape: ImageShape) -> float:
    """Return how many floating-point operations a standard update (forward and backward) takes per image of a shape."""
    num_images = 8
    device = next(classifier.parameters()).device
    images, labels = torch.zeros(num_images, *image_shape, device=device), torch.zeros(num_images, device=device).long()
    counter = _FlopCounter()
    with counter:
        cross_entropy(copy.deepcopy(classifier)(images), labels).mean().backward()
    return counter.flops / num_images


class ComputeMeter:
    """Adds up the cost of updates.

    The first update of each kind is counted operation by operation, so a new recipe needs no formula of its own. Later
    updates of that kind are taken to cost the same per image.
    """

    def __init__(self, flops_per_epoch: float) -> None:
        """Set the unit: how many floating-point operations an epoch of standard training takes."""
        self._flops_per_epoch = flops_per_epoch
        self._flops_per_image: dict[str, float] = {}
        self._flops = 0.0

    @property
    def compute(self) -> float:
        """Cost so far, in epochs of standard training."""
        return self._flops / self._flops_per_epoch

    def run(self, kind: str, num_images: int, update: Callable[[], Result]) -> Result:
        """Run an update and add its cost.

        Args:
            kind: updates of one kind cost the same per image.
            num_images: how many images the update is on.
            update: does the update.

        Returns:
            What the update returned.
        """
        if kind in self._flops_per_image:
            result = update()
        else:
            counter = _FlopCounter()
            with counter:
                result = update()
            self._flops_per_image[kind] = counter.flops / num_images
        self._flops += self._flops_per_image[kind] * num_images
        return result

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint; see `restore`."""
        return {"flops": self._flops, "flops_per_image": dict(self._flops_per_image)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._flops = state["flops"]
        self._flops_per_image = dict(state["flops_per_image"])
