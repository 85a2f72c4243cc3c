"""Values that the host reads from the device without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Reading:
    """Values of tensors, which are on their way from the device to the host.

    On a GPU they are copied into pinned memory after what the present stream was given so far; on a CPU they are there.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._device_tensors = tuple(tensor.detach() for tensor in tensors)  # kept until they are copied
        self._event = torch.cuda.Event() if any(tensor.is_cuda for tensor in tensors) else None
        self._values = tuple(self._copy(tensor) for tensor in self._device_tensors)
        if self._event is not None:
            self._event.record()

    @staticmethod
    def _copy(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_cuda:
            return tensor
        place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return place.copy_(tensor, non_blocking=True)

    def is_ready(self) -> bool:
        """Return whether the values are there, without waiting."""
        return self._event is None or self._event.query()

    def wait(self) -> None:
        """Wait for the values."""
        if self._event is not None:
            self._event.synchronize()

    def values(self) -> tuple[torch.Tensor, ...]:
        """Return the values as tensors on the CPU; waits for them where they are not there yet."""
        self.wait()
        return self._values


def without_wait(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the CPU on a device; the host does not wait until it is there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
