"""A strided convolution whose input gradient is fast on a CPU.

oneDNN pads the input channels to 16 to compute the gradient of the images, so with the one channel of a grey image
15/16 of that work is thrown away; with 16 channels it answers in a layout of its own, and torch copies the answer. Here
the gradient is computed on blocks of stride x stride pixels, which are the channels of a convolution of stride 1 (space
to depth). Its values differ from the ordinary ones by rounding only.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional

_PADDED_CHANNELS = 16
"""oneDNN pads the channels of the images to so many."""

_REAL_DTYPES = (torch.float32, torch.float64)
"""Of which two numbers make a complex one."""


class StridedConvolution(nn.Conv2d):
    """A `torch.nn.Conv2d` with the same parameters, names and output; see the module for its input gradient.

    The ordinary convolution is used where the images want no gradient, on other devices than a CPU, while torch
    compiles or transforms (`torch.func`) the network, and for many channels of an odd size or under autocast, where it
    is faster.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int) -> None:
        """See `torch.nn.Conv2d`.

        Raises:
            ValueError: the kernel cannot be divided into blocks, because the stride does not divide its size.
        """
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
        if kernel_size % stride:
            raise ValueError(f"the stride must divide the kernel_size {kernel_size}, got {stride}")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve images ``(batch, C, H, W)``."""
        is_narrow = self.in_channels < _PADDED_CHANNELS
        in_pairs = _is_in_pairs(images.shape, self.stride[0]) and not torch.is_autocast_enabled("cpu")
        if not _is_fast(images) or not (is_narrow or in_pairs):
            return super().forward(images)
        shape = _Shape(self.stride[0], int(self.padding[0]))
        # Two steps, because a Function computes the gradients of all its inputs, whichever are asked for.
        output = _ParameterGradients.apply(self.weight, self.bias, (images,), shape)  # type: ignore[no-untyped-call]
        result: torch.Tensor = _ImageGradient.apply(output, images, self.weight, shape)  # type: ignore[no-untyped-call]
        return result

    def __prepare_scriptable__(self) -> nn.Conv2d:
        """Return what TorchScript compiles in place of this: an ordinary convolution with the same parameters."""
        kernel_size, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        ordinary = nn.Conv2d(self.in_channels, self.out_channels, kernel_size, stride, padding, device="meta")
        ordinary.weight, ordinary.bias = self.weight, self.bias
        return ordinary.train(self.training)


def _is_fast(images: torch.Tensor) -> bool:
    return (
        images.requires_grad
        and torch.is_grad_enabled()
        and images.device.type == "cpu"
        and images.dim() == 4
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def _is_in_pairs(size: torch.Size, stride: int) -> bool:
    return stride == 2 and size[-2] % 2 == size[-1] % 2 == 0


class _Shape(NamedTuple):
    stride: int
    padding: int


class _ParameterGradients(Function):
    """The convolution, with gradients of weight and bias alone: the images are hidden from autograd in a tuple."""

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, bias: torch.Tensor, hidden: tuple[torch.Tensor], shape: _Shape
    ) -> torch.Tensor:
        (images,) = hidden
        ctx.save_for_backward(weight, images.detach())
        # With its history, which a second derivative needs; the saved one notices a change in place.
        ctx.images, ctx.shape = images, shape
        return functional.conv2d(images, weight, bias, shape.stride, shape.padding)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        weight, _ = ctx.saved_tensors
        wanted = [False, *ctx.needs_input_grad[:2]]
        images = ctx.images.to(gradient.dtype)  # under autocast the convolution is not in the images' precision
        _, of_weight, of_bias = _gradients(gradient, images, weight, ctx.shape.stride, ctx.shape.padding, wanted)
        return of_weight, of_bias, None, None


class _ImageGradient(Function):
    """Adds the images' gradient to the output of a convolution, which it returns as it is."""

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, shape: _Shape
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.size = shape, images.shape
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        (weight,) = ctx.saved_tensors
        return gradient, _image_gradient(gradient, weight, ctx.size, ctx.shape), None, None


def _image_gradient(gradient: torch.Tensor, weight: torch.Tensor, size: torch.Size, shape: _Shape) -> torch.Tensor:
    """Return the gradient of images of a size ``(batch, C, H, W)`` from that of the output."""
    stride, padding = shape
    blocks = functional.pixel_unshuffle(weight, stride)
    height, width = (output + kernel - 1 for output, kernel in zip(gradient.shape[-2:], blocks.shape[-2:], strict=True))
    unused = gradient.new_empty(len(gradient), blocks.shape[1], height, width)
    of_blocks, _, _ = _gradients(gradient, unused, blocks, 1, 0, [True, False, False])
    if _is_in_pairs(size, stride) and gradient.dtype in _REAL_DTYPES and not torch.is_grad_enabled():
        return _pixels_of_blocks(cast(torch.Tensor, of_blocks), size, padding)
    of_padded = _depth_to_space(cast(torch.Tensor, of_blocks), stride)
    of_padded = of_padded[..., padding : padding + size[-2], padding : padding + size[-1]]
    # Rows and columns at the end that no window covers.
    missing = (size[-1] - of_padded.shape[-1], size[-2] - of_padded.shape[-2])
    return functional.pad(of_padded, (0, missing[0], 0, missing[1])) if any(missing) else of_padded


def _gradients(
    gradient: torch.Tensor, images: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, wanted: list[bool]
) -> tuple[torch.Tensor | None, ...]:
    """Return the gradients of images, weight and bias; None for those that are not wanted."""
    output_channels, both = [len(weight)], [1, 1]
    gradients: tuple[torch.Tensor | None, ...] = torch.ops.aten.convolution_backward(
        gradient,
        images,
        weight.to(gradient.dtype),
        output_channels,
        [stride, stride],
        [padding, padding],
        both,
        False,
        [0, 0],
        1,
        wanted,
    )
    return gradients


def _depth_to_space(blocks: torch.Tensor, stride: int) -> torch.Tensor:
    """Return what `torch.nn.functional.pixel_shuffle` returns, in half the time."""
    rows = torch.stack(blocks.unflatten(1, (-1, stride, stride)).unbind(3), -1).flatten(-2)
    return torch.stack(rows.unbind(2), 3).flatten(2, 3)


def _pixels_of_blocks(blocks: torch.Tensor, size: torch.Size, padding: int) -> torch.Tensor:
    """Return the images of an even size whose padded pixels are in blocks of 2 x 2.

    Each pair of pixels of a row is written as one complex number, which is faster than to write them one by one.
    """
    batch, channels, height, width = size
    parts = blocks.unflatten(1, (channels, 2, 2))
    pairs = blocks.new_empty((batch, channels, height // 2, 2, width // 2), dtype=blocks.dtype.to_complex())

    def pixels(row: int, column: int) -> torch.Tensor:
        """Return every second pixel of every second row, from this one on: ``(batch, C, H / 2, W / 2)``."""
        (down, row_in_block), (right, column_in_block) = divmod(row + padding, 2), divmod(column + padding, 2)
        part: torch.Tensor = parts[:, :, row_in_block, column_in_block]
        return part[..., down : down + height // 2, right : right + width // 2]

    for row in (0, 1):
        torch.complex(pixels(row, 0), pixels(row, 1), out=pairs[:, :, :, row])
    images: torch.Tensor = torch.view_as_real(pairs).view(size)
    return images
