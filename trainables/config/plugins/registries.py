"""The tables of what can be named in a space: ours, and those of installed packages, by their entry points.

A package adds a network by an entry point of the group ``adversarial_tuner.classifiers``, whose name is that of the
network and whose object is what a row of ours leads to. Nothing is imported before it is used. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module, metadata
from typing import Any

from trainables.errors import UserError, printable

_PREFIX = "adversarial_tuner."


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        name: what it is called in a space.
        target: ``module:attribute`` that is imported when it is used.
        package: that has brought it, with its version; empty for ours.
    """

    name: str
    target: str
    package: str = ""

    def load(self) -> Any:
        """Import what the row leads to.

        Raises:
            UserError: the package's code fails when it is imported.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except RAISED as error:
            if not self.package:
                raise
            raise UserError(
                f"{self.name} of {self.package} cannot be imported ({self.target}): {explain(error)}; update or remove "
                "that package"
            ) from error


RAISED = (Exception, SystemExit)
"""What code of others may raise that is not a signal to this process: `sys.exit` in it ends nothing but itself."""


def explain(error: BaseException) -> str:
    """Return an error in one line."""
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])[:300]


class Registry(Mapping[str, Any]):
    """A table: ours first, then those of installed packages. As a mapping it gives what rows lead to.

    Args:
        kind: what it is a table of, as in the name of its group of entry points.
        ours: the rows of this package.
    """

    def __init__(self, kind: str, ours: Mapping[str, str]) -> None:
        self.kind = kind
        self.ours = {name: Entry(name, target) for name, target in ours.items()}

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """The rows by their names; a package cannot replace one of ours."""
        found: dict[str, Entry] = {}
        for point in metadata.entry_points(group=f"{_PREFIX}{self.kind}"):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
            found.setdefault(point.name, Entry(point.name, point.value.replace(" ", ""), package))
        return {**found, **self.ours}

    def names(self) -> tuple[str, ...]:
        """Return the names of all rows, ours first."""
        return (*self.ours, *(name for name in self.entries if name not in self.ours))

    def plugins(self) -> list[Entry]:
        """Return the rows of installed packages."""
        return [entry for entry in self.entries.values() if entry.package]

    def __getitem__(self, name: str) -> Any:
        return self.entries[name].load()

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.entries)


def objection(name: str, known: tuple[str, ...], otherwise: str) -> str:
    """Return a message that a name is none of those that are known.

    Args:
        name: the name.
        known: all names.
        otherwise: what else could stand there.
    """
    words = ", ".join(map(repr, known))
    close = get_close_matches(name[:60], known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"must be {words} or {otherwise}, not {name[:60]!r}{hint}"


_NETWORKS = "trainables.networks"
CLASSIFIERS = Registry(
    "classifiers",
    {name: f"{_NETWORKS}.classifiers:{name}" for name in ("small_cnn", "madry_cnn", "mlp")}
    | {name: f"{_NETWORKS}.architectures.residual:{name}" for name in ("preact_resnet18", "wide_resnet_28_10")},
)
"""Functions of the images' shape and the number of classes that return a network, which maps images to logits."""
GENERATORS = Registry(
    "generators",
    {name: f"{_NETWORKS}.generators:{name}" for name in ("space_to_depth", "strided", "residual")},
)
"""Functions of the numbers of input channels, of the widest layers' and of output channels that return a body."""
DATASETS = Registry("datasets", {})
"""Functions that return images by the names that `trainables.data.array_files` describes; ours are in the catalogue."""
ALL = (DATASETS, CLASSIFIERS, GENERATORS)
