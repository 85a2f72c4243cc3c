"""Compute: what training has cost so far, in epochs of standard training of the same classifier. Counted, not timed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trainables.attacks.losses import cross_entropy
from trainables.networks.classifiers import IMAGE_SHAPE

Result = TypeVar("Result")


class _FlopCounter(TorchDispatchMode):
    """Adds up the operations of whatever runs inside, backward passes included.

    torch's own FlopCounterMode also hooks every module, which `torch.autograd.grad` for an input does not survive.
    """

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


def standard_flops_per_image(classifier: nn.Module) -> float:
    """Return the floating-point operations of one standard update (forward and backward) per image."""
    num_images = 8
    device = next(classifier.parameters()).device
    images, labels = torch.zeros(num_images, *IMAGE_SHAPE, device=device), torch.zeros(num_images, device=device).long()
    counter = _FlopCounter()
    with counter:
        cross_entropy(copy.deepcopy(classifier)(images), labels).mean().backward()
    return counter.flops / num_images


class ComputeMeter:
    """Adds up the cost of updates.

    The first update of each kind is counted operation by operation, which also counts what a new recipe does without
    anyone writing a formula for it; later ones of that kind cost the same per image.
    """

    def __init__(self, flops_per_epoch: float) -> None:
        self._flops_per_epoch = flops_per_epoch
        self._flops_per_image: dict[str, float] = {}
        self._flops = 0.0

    @property
    def compute(self) -> float:
        """Cost so far in standard epochs."""
        return self._flops / self._flops_per_epoch

    def run(self, kind: str, num_images: int, update: Callable[[], Result]) -> Result:
        """Do one update on that many images and count it."""
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
        """Return what `restore` needs."""
        return {"flops": self._flops, "flops_per_image": dict(self._flops_per_image)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self._flops = state["flops"]
        self._flops_per_image = dict(state["flops_per_image"])
