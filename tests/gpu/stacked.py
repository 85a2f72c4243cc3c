"""Networks of equal structure as one network with stacked weights ``(slots, ...)``: a prototype.

Images are ``(slots, batch, channels, height, width)``, logits ``(slots, batch, classes)``. There are two ways to
compute convolutions with weights of their own for each slot: ``grouped`` (one convolution in groups) and ``bmm``
(patches as rows of a matrix, with the channels last, times a matrix for each slot). Weights are stored as the way needs
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from trainables.networks.classifiers import LeadingDimensions
from trainables.networks.generators import Generator, _Conditioned

WAYS = ("bmm", "grouped", "grouped_last")


class Stack:
    """Networks of one structure, whose parameters are views of one matrix ``(slots, parameters)``."""

    def __init__(self, networks: Sequence[nn.Module], way: str) -> None:
        self._way = way
        self.is_generator = isinstance(networks[0], Generator)
        bodies = [network.body if isinstance(network, LeadingDimensions) else network for network in networks]
        if self.is_generator:
            bodies = [network.body.body for network in networks]
        self._layers = _layers(bodies[0])
        weights = [_weights(network, body, self._layers, way) for network, body in zip(networks, bodies, strict=True)]
        self._names = list(weights[0])
        shapes = {name: tensor.shape for name, tensor in weights[0].items()}
        self.matrix = torch.stack([torch.cat([_padded(some[name]) for name in self._names]) for some in weights])
        self.num_slots = len(networks)
        self._gradients = torch.zeros_like(self.matrix)
        self.leaves: dict[str, torch.Tensor] = {}
        self._gradient_of: list[torch.Tensor] = []
        position = 0
        for name, shape in shapes.items():
            weight, gradient = (
                matrix[:, position : position + shape.numel()].view(self.num_slots, *shape)
                for matrix in (self.matrix, self._gradients)
            )
            self.leaves[name] = weight.detach().requires_grad_()
            self._gradient_of.append(gradient)
            position += len(_padded(weights[0][name]))

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the gradient of a loss as a matrix, until the next call."""
        found = torch.autograd.grad(loss, list(self.leaves.values()))
        torch._foreach_copy_(self._gradient_of, list(found))
        return self._gradients

    def network(self, slot: int) -> dict[str, torch.Tensor]:
        """Return the weights of one slot by name."""
        return {name: leaf[slot].detach().clone() for name, leaf in self.leaves.items()}

    def freeze(self, frozen: bool) -> None:
        for leaf in self.leaves.values():
            leaf.requires_grad_(not frozen)

    def __call__(self, images: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        dtype = images.dtype
        hidden = self._enter(images)
        for index, (kind, layer) in enumerate(self._layers):
            hidden = self._apply(index, kind, layer, hidden, numbers)
        if not self.is_generator:
            return hidden.to(dtype)
        output = self._leave(hidden)
        return torch.tanh(self.leaves["scale"][..., None, None, None] * output.to(dtype))

    def _enter(self, images: torch.Tensor) -> torch.Tensor:
        if self._way == "bmm":
            return images.movedim(2, -1)
        joined = images.transpose(0, 1).flatten(1, 2)  # (batch, slots * channels, height, width)
        return joined.contiguous(memory_format=torch.channels_last) if self._way == "grouped_last" else joined

    def _leave(self, hidden: torch.Tensor) -> torch.Tensor:
        if self._way == "bmm":
            return hidden.movedim(-1, 2)
        return hidden.unflatten(1, (self.num_slots, -1)).transpose(0, 1)

    def _apply(
        self, index: int, kind: str, layer: nn.Module, hidden: torch.Tensor, numbers: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        is_bmm, slots = self._way == "bmm", self.num_slots
        match kind:
            case "conv":
                weight, bias = self.leaves[f"{index}.weight"], self.leaves[f"{index}.bias"]
                output = (
                    _conv_rows(layer, hidden, weight, bias) if is_bmm else _conv_groups(layer, hidden, weight, bias)
                )
                if f"{index}.planes" in self.leaves:
                    planes = numbers[0] @ self.leaves[f"{index}.planes"]  # (slots, batch, channels)
                    spread = planes[:, :, None, None] if is_bmm else planes.transpose(0, 1).flatten(1)[..., None, None]
                    output = output + spread
                return output
            case "linear":
                if hidden.dim() == 5:
                    hidden = hidden.flatten(2)
                return torch.baddbmm(self.leaves[f"{index}.bias"], hidden, self.leaves[f"{index}.weight"])
            case "relu":
                return hidden.relu()
            case "flatten":
                return hidden.flatten(2) if is_bmm else hidden.unflatten(1, (slots, -1)).transpose(0, 1).flatten(2)
            case "unshuffle":
                return _unshuffle_last(hidden, 4) if is_bmm else functional.pixel_unshuffle(hidden, 4)
            case _:
                return _shuffle_last(hidden, 4) if is_bmm else functional.pixel_shuffle(hidden, 4)


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as a vector whose length keeps the next one where kernels can read four numbers at once."""
    return functional.pad(tensor.flatten(), (0, -tensor.numel() % 32))


def _layers(body: nn.Module) -> list[tuple[str, nn.Module]]:
    if isinstance(body, _Conditioned):
        return _layers(nn.Sequential(*body.stem, *body.rest))
    kinds = {
        nn.Conv2d: "conv",
        nn.Linear: "linear",
        nn.ReLU: "relu",
        nn.Flatten: "flatten",
        nn.PixelUnshuffle: "unshuffle",
        nn.PixelShuffle: "shuffle",
    }
    return [(kinds[type(layer)], layer) for layer in body]  # type: ignore[index]


def _weights(network: nn.Module, body: nn.Module, layers: Any, way: str) -> dict[str, torch.Tensor]:
    """Return the weights of one network in the order in which a way stores them."""
    own = _layers(body)
    weights: dict[str, torch.Tensor] = {}
    channels, side, before_flatten = 0, 28, (0, 0)
    for index, (kind, layer) in enumerate(own):
        if kind == "conv":
            weight = layer.weight.detach()
            weights[f"{index}.weight"] = weight.permute(2, 3, 1, 0).flatten(0, 2) if way == "bmm" else weight
            weights[f"{index}.bias"] = layer.bias.detach()[None] if way == "bmm" else layer.bias.detach()
            channels, side = layer.out_channels, side // layer.stride[0]
            if isinstance(body, _Conditioned) and layer is body.stem[-1]:
                weights[f"{index}.planes"] = body.planes.weight.detach().t()
        elif kind == "flatten":
            before_flatten = channels, side
        elif kind == "linear":
            weight = layer.weight.detach()
            if before_flatten[0] and way == "bmm":
                weight = weight.unflatten(1, (before_flatten[0], -1)).transpose(1, 2).flatten(1)
            before_flatten = 0, 0
            weights[f"{index}.weight"] = weight.t()
            weights[f"{index}.bias"] = layer.bias.detach()[None]
    if isinstance(network, Generator):
        weights["scale"] = network.scale.detach().reshape(1)
    return weights


def _conv_groups(layer: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(
        hidden, weight.flatten(0, 1), bias.flatten(), layer.stride, layer.padding, groups=len(weight)
    )


def _conv_rows(layer: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Convolve ``(slots, batch, height, width, channels)`` by a product of matrices for each slot."""
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    padded = functional.pad(hidden, (0, 0, padding, padding, padding, padding))
    patches = padded.unfold(2, kernel, stride).unfold(3, kernel, stride)  # (s, b, h, w, c, kernel, kernel)
    slots, batch, height, width = patches.shape[:4]
    rows = patches.permute(0, 1, 2, 3, 5, 6, 4).reshape(slots, batch * height * width, -1)
    return torch.baddbmm(bias, rows, weight).view(slots, batch, height, width, -1)


def _unshuffle_last(hidden: torch.Tensor, factor: int) -> torch.Tensor:
    slots, batch, height, width, channels = hidden.shape
    blocks = hidden.reshape(slots, batch, height // factor, factor, width // factor, factor, channels)
    return blocks.permute(0, 1, 2, 4, 6, 3, 5).reshape(slots, batch, height // factor, width // factor, -1)


def _shuffle_last(hidden: torch.Tensor, factor: int) -> torch.Tensor:
    slots, batch, height, width, channels = hidden.shape
    blocks = hidden.reshape(slots, batch, height, width, channels // factor**2, factor, factor)
    return blocks.permute(0, 1, 2, 5, 3, 6, 4).reshape(slots, batch, height * factor, width * factor, -1)


class StackedAdam:
    """Adam over a matrix ``(slots, parameters)`` with a learning rate of its own for each slot."""

    def __init__(self, stack: Stack, rates: Sequence[float]) -> None:
        matrix = stack.matrix
        self._matrix = matrix
        self.rate = torch.tensor(rates, device=matrix.device).unsqueeze(1)
        self._step = torch.zeros(len(matrix), 1, device=matrix.device)
        self._mean, self._square = torch.zeros_like(matrix), torch.zeros_like(matrix)

    @torch.no_grad()
    def step(self, gradient: torch.Tensor) -> None:
        self._step += 1
        self._mean.lerp_(gradient, 0.1)
        self._square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        size = self.rate / (1 - 0.9**self._step)
        divisor = (self._square.sqrt() / (1 - 0.999**self._step).sqrt()).add_(1e-8)
        self._matrix.addcdiv_(self._mean * size, divisor, value=-1)
