"""Names of what a user brings along: a folder or file of images, and a function in a module or file. Loads nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SUFFIXES = (".npz", ".safetensors")
_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_REFERENCE = re.compile(
    r"([\w./+ -]{1,200}\.py|[A-Za-z_]\w{0,63}(?:\.[A-Za-z_]\w{0,63}){0,9}):([A-Za-z_]\w{0,63})", re.ASCII
)
MAX_NAME = 255


@dataclass(frozen=True)
class CodeReference:
    """A function or class of a user's own, as ``net.py:build`` or ``package.module:build``.

    Attributes:
        where: the file or the module.
        name: of the function or class in it.
    """

    where: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether it lies in a file, not in an installed module."""
        return self.where.endswith(".py")

    @property
    def file_name(self) -> str:
        """The last part of the file's path, under which a sweep keeps a copy."""
        return self.where.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return f"{self.where}:{self.name}"


def code_reference(name: str) -> CodeReference | None:
    """Return the function that a name refers to; None if it is another kind of name."""
    match = _REFERENCE.fullmatch(name)
    return CodeReference(match[1], match[2]) if match else None


def weights_name(start: str) -> str:
    """Return under which name a sweep keeps the weights that a classifier starts from.

    Args:
        start: the path of a file with a state dict, or of the folder of a bundle.
    """
    name = start.rstrip("/").rsplit("/", 1)[-1]
    return name if is_weights(name) else f"{name}.safetensors"


def is_weights(name: str) -> bool:
    """Return whether a key of the code that settings name is a file of weights, in which no code is run."""
    return name.endswith(_WEIGHTS)


def is_image_path(name: str) -> bool:
    """Return whether the name of a dataset is a path: it has a slash, or ends like a file of arrays."""
    return code_reference(name) is None and ("/" in name or name.endswith(_SUFFIXES))
