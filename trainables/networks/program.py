"""A classifier as a program that torch runs alone: ``model.pt2``, which `torch.export.load` reads without our code."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from trainables.common.tasks import Task
from trainables.errors import UserError

PROGRAM = "model.pt2"


class UnexportableError(UserError):
    """A network is more than torch can export as a program."""


def write_program(target: Path, classifier: nn.Module, task: Task) -> None:
    """Write a classifier as an exported program for any number of images.

    Args:
        target: the file to write.
        classifier: is put into evaluation mode.
        task: the shape of its images.

    Raises:
        UnexportableError: torch cannot export it, as a network whose code depends on the values of images.
    """
    images = torch.zeros(2, *task.image_shape)
    number = torch.export.Dim("images", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own code
        try:
            program = torch.export.export(classifier.eval(), (images,), dynamic_shapes=({0: number},))
        except Exception as error:  # whatever the code of a network makes torch raise
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise UnexportableError(f"torch.export cannot export the network: {reason}") from error
        torch.export.save(program, str(target))


def largest_difference(source: Path, classifier: nn.Module, task: Task) -> float:
    """Return by how much the logits of a program and of a classifier differ at most, on a few random images."""
    images = torch.rand(8, *task.image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float((read_program(source)(images) - classifier.eval()(images)).abs().max())


def read_program(source: Path) -> nn.Module:
    """Return the program that `write_program` has written, as a module that maps images to logits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(str(source)).module()
