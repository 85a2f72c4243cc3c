"""On the ``PYTHONPATH`` of a cluster's nodes: in the drivers of these commands, every network refuses to compute."""

import sys

_COMMANDS = {"evaluate", "confirm"}

if "tuner" in sys.orig_argv and _COMMANDS & set(sys.orig_argv):
    import torch

    def _refuse(self: torch.nn.Module, *arguments: object, **options: object) -> None:
        raise AssertionError("a driver on the head computes")

    torch.nn.Module.__call__ = _refuse  # type: ignore[method-assign]
