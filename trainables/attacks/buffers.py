"""What a network keeps beside its weights, such as the running statistics of batch normalisation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def buffers_kept(network: nn.Module) -> Iterator[None]:
    """Give a network's buffers back their values at the end: what happens meanwhile is no training of it.

    In training mode, batch normalisation takes every batch into its running statistics. They belong to the images that
    the network is trained on, not to those that an attack tries on the way. A network without buffers costs nothing.
    """
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.data.copy_(value)  # not seen by autograd, which needs none of them in a backward pass of training
