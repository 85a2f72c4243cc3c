"""Normalisation of images: the mean and standard deviation that many networks expect to be taken off first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from trainables.errors import UserError

_ENDS = (("mean", "std"), ("mu", "sigma"))
_MIN_STD, _MAX_STD = 1e-3, 10.0
_LARGER = "divide one for pixels of 0 to 255 by 255"


@dataclass(frozen=True)
class Normalization:
    """What is taken off each pixel, and what it is then divided by.

    Attributes:
        mean: in pixels of [0, 1].
        std: likewise, above 0.

    Raises:
        UserError: a number is out of bounds.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.mean <= 1:
            raise UserError(f"the mean must be from 0 to 1, as pixels are, not {self.mean:g}: {_LARGER}")
        if not _MIN_STD <= self.std <= _MAX_STD:
            bounds = f"from {_MIN_STD:g} to {_MAX_STD:g}"
            raise UserError(f"the standard deviation must be {bounds}, not {self.std:g}: {_LARGER}")

    def __str__(self) -> str:
        return f"mean {self.mean:.4g} and std {self.std:.4g}"


class Normalized(nn.Module):
    """A network that is given normalised images, so that attacks on the whole stay in pixels of [0, 1]."""

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.network = network
        self.normalization = normalization

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise images ``(batch, C, H, W)`` in [0, 1] and apply the network."""
        logits: torch.Tensor = self.network((images - self.normalization.mean) / self.normalization.std)
        return logits


def find_saved_normalization(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the names of the saved mean and standard deviation among those of a state dict; None without them.

    They are two tensors with names alike but for their ends, such as ``normalize.mean`` and ``normalize.std``. Those of
    a batch normalisation (``running_mean``) are none.
    """
    known = dict.fromkeys(names)
    for name in known:
        for mean, std in _ENDS:
            sibling = name.removesuffix(mean) + std
            if name.endswith(mean) and sibling in known and not name.endswith("running_mean"):
                return name, sibling
    return None
