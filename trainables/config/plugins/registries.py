"""The tables of what can be named in a space: ours, and those of installed packages, by their entry points.

A package adds a network by an entry point of the group ``adversarial_tuner.classifiers``, whose name is that of the
network and whose object is what a row of ours leads to; the tables below say what that is. Nothing is imported before
it is used. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trainables.common.process_state import without_current_folder
from trainables.errors import UserError, printable

if TYPE_CHECKING:
    from pydantic import BaseModel

GROUP = "adversarial_tuner."
"""What the names of our groups of entry points begin with."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
Row = TypeVar("Row")


@dataclass(frozen=True)
class Recipe:
    """What a row of the table of recipes leads to.

    Attributes:
        config: the class of its settings, made from `trainables.config.TrainingConfig`. Its module imports no torch.
        loop: ``module:Class`` of its loop, made from `trainables.training.loop.TrainingLoop`, imported to train.
    """

    config: type[BaseModel]
    loop: str


@dataclass(frozen=True)
class Configured:
    """What a row of the tables of classifiers and of attacks leads to if it has settings; one without is a function.

    Attributes:
        config: the class of the settings, made from `trainables.config.Settings`, each with a default. Its module
            imports no torch.
        function: ``module:function``, which takes each setting as a keyword argument, imported when it is used.
    """

    config: type[BaseModel]
    function: str


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        name: what it is called in a space.
        target: ``module:attribute`` that is imported when it is used.
        package: that has brought it, with its version; empty for ours.
        problem: why it cannot be used, and what to do; empty if nothing is known.
    """

    name: str
    target: str
    package: str = ""
    problem: str = ""

    def load(self) -> Any:
        """Import what the row leads to.

        Raises:
            UserError: the package's code fails when it is imported, or has nothing of that name.
        """
        if self.problem:
            raise UserError(self.problem)
        if not self.package:
            return imported(self.target)
        return import_of(self.target, self.title)

    @property
    def title(self) -> str:
        """What to call it in messages."""
        return f"{printable(self.name)} of {self.package}" if self.package else self.name

    @property
    def config(self) -> type[BaseModel] | None:
        """The class of its settings, None if it has none; ours have none, so they are not imported for that.

        Raises:
            UserError: see `load`; or the class is no pydantic model.
        """
        found = self.load() if self.package else None
        if not isinstance(found, Configured):
            return None
        if not (isinstance(found.config, type) and hasattr(found.config, "model_fields")):
            raise UserError(
                f"{self.title} has {explain_value(found.config)} for its settings: they are a pydantic model made from "
                "trainables.config.Settings"
            )
        return found.config

    def function(self) -> Any:
        """Import the function that the row leads to, at once or through a `Configured`.

        Raises:
            UserError: see `load`.
        """
        found = self.load()
        return import_of(found.function, self.title) if isinstance(found, Configured) else found


RAISED = (Exception, SystemExit)
"""What code of others may raise that is not a signal to this process: `sys.exit` in it ends nothing but itself."""


def imported(target: str) -> Any:
    """Return what ``module:attribute`` leads to."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def import_of(target: str, what: str) -> Any:
    """Return what ``module:attribute`` of a package leads to.

    Args:
        target: the module and the attribute.
        what: it is, for messages.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        with without_current_folder():
            return imported(target)
    except RAISED as error:
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        remedy = f"install what it needs ({missing})" if missing else "update or remove that package"
        raise UserError(f"{what} cannot be imported ({printable(target)}): {explain(error)}; {remedy}") from error


def explain(error: BaseException) -> str:
    """Return an error in one line."""
    return printable(f"{type(error).__name__}: {str(error).strip()}".splitlines()[0])[:300]


def explain_value(value: object) -> str:
    """Return what kind of thing a value is, in words: ``the class Settings``, ``a function``."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"a value of the type {type(value).__name__}"


@cache
def entry_points() -> tuple[metadata.EntryPoint, ...]:
    """Return the entry points of all our groups; every installed package is looked at, so once for all tables."""
    everything: Any = metadata.entry_points()
    return tuple(
        point for group in everything.groups if group.startswith(GROUP) for point in everything.select(group=group)
    )


_tables: list[Registry] = []


def look_again() -> None:
    """Let all tables look for installed packages again: some have been added."""
    entry_points.cache_clear()
    for table in _tables:
        for name in ("entries", "_found"):
            vars(table).pop(name, None)


class Registry(Mapping[str, Any]):
    """A table: ours first, then those of installed packages. As a mapping it gives what rows lead to.

    Args:
        kind: what it is a table of, as in the name of its group of entry points.
        ours: the rows of this package.
    """

    def __init__(self, kind: str, ours: Mapping[str, str]) -> None:
        self.kind = kind
        self.ours = {name: Entry(name, target) for name, target in ours.items()}
        _tables.append(self)

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """The rows by their names; a package cannot replace one of ours."""
        return {**{entry.name: entry for entry in self.plugins() if entry.name not in self.ours}, **self.ours}

    def usable(self) -> list[Entry]:
        """Return the rows of installed packages of which nothing is known that forbids their use."""
        return [entry for entry in self.plugins() if not entry.problem]

    def names(self) -> tuple[str, ...]:
        """Return the names of all rows, ours first."""
        return (*self.ours, *(name for name in self.entries if name not in self.ours))

    def plugins(self) -> list[Entry]:
        """Return the rows of installed packages, those that cannot be used among them."""
        return list(self._found)

    @cached_property
    def _found(self) -> tuple[Entry, ...]:
        found: dict[str, Entry] = {}
        for point in entry_points():
            if point.group != f"{GROUP}{self.kind}":
                continue
            entry = self._entry_of(point)
            other = found.get(point.name)
            if other is not None and entry.package != other.package:
                both = f"{other.package} and {entry.package}"
                problem = f"{self.kind}: {entry.name} is a name of two packages, {both}: remove one of them"
                entry = Entry(entry.name, entry.target, entry.package, problem)
            found[point.name] = entry
        return tuple(found.values())

    def _entry_of(self, point: metadata.EntryPoint) -> Entry:
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "a package"
        name, problem = printable(point.name), ""
        if point.name in self.ours:
            problem = f"{name} of {package} is not used: {self.kind} has one of that name already; rename it"
        elif not _NAME.fullmatch(point.name):
            wanted = "1 to 63 lower-case letters, digits, - and _, beginning with a letter or digit"
            problem = f"{name!r} of {package} cannot be used: a name is {wanted}; rename it"
        elif not point.value.partition(":")[2]:
            problem = f"{name} of {package} cannot be used: it must lead to module:name, not {printable(point.value)!r}"
        return Entry(point.name, point.value.partition("[")[0].replace(" ", ""), package, problem)

    def __getitem__(self, name: str) -> Any:
        return self.entries[name].load()

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.entries)


class RegistryView(Mapping[str, Row], Generic[Row]):
    """What the rows of a table give, made when it is asked for. What is set here stands in the place of a row.

    Args:
        registry: the table.
        convert: returns what a row gives, from its entry; a `UserError` of it says why the row cannot be used.
    """

    def __init__(self, registry: Registry, convert: Callable[[Entry], Row]) -> None:
        self._registry = registry
        self._convert = convert
        self._set: dict[str, Row] = {}

    def usable(self) -> Iterator[tuple[str, Row]]:
        """Yield the names and what they give, without those of packages that cannot be used."""
        for name in self:
            try:
                yield name, self[name]
            except UserError:
                continue

    def __getitem__(self, name: str) -> Row:
        return self._set[name] if name in self._set else self._convert(self._registry.entries[name])

    def __contains__(self, name: object) -> bool:
        return name in self._set or name in self._registry

    def __setitem__(self, name: str, row: Row) -> None:
        self._set[name] = row

    def __delitem__(self, name: str) -> None:
        """Forget what was set; a row cannot be deleted."""
        del self._set[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._registry.names(), *self._set)))

    def __len__(self) -> int:
        return len(list(iter(self)))


def objection(name: str, known: tuple[str, ...], otherwise: str) -> str:
    """Return a message that a name is none of those that are known.

    Args:
        name: the name.
        known: all names.
        otherwise: what else could stand there.
    """
    words = ", ".join(map(repr, known)) + (" or " if known else "")
    close = get_close_matches(name[:60], known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"must be {words}{otherwise}, not {name[:60]!r}{hint}"


_NETWORKS = "trainables.networks"
CLASSIFIERS = Registry(
    "classifiers",
    {name: f"{_NETWORKS}.classifiers:{name}" for name in ("small_cnn", "madry_cnn", "mlp")}
    | {name: f"{_NETWORKS}.architectures.residual:{name}" for name in ("preact_resnet18", "wide_resnet_28_10")},
)
"""Functions of the images' shape and the number of classes that return a network, which maps images to logits.

A row of a package may lead to a `Configured`, as one of the attacks may."""
GENERATORS = Registry(
    "generators",
    {name: f"{_NETWORKS}.generators:{name}" for name in ("space_to_depth", "strided", "residual")},
)
"""Functions of the numbers of input channels, of the widest layers' and of output channels that return a body."""
ATTACKS = Registry(
    "attacks",
    {
        "fgsm": "trainables.attacks.gradient:fgsm",
        "rfgsm": "trainables.attacks.gradient:r_fgsm",
        "pgd": "trainables.attacks.gradient:pgd_survivors",
        "mi_fgsm": "trainables.attacks.gradient:mi_fgsm",
        "apgd": "trainables.attacks.apgd:apgd",
        "apgd_square": "trainables.attacks.combined:apgd_square",
    },
)
"""Functions like `trainables.evaluation.accuracy.AttackFn`, with or without its `rng`."""
RECIPES = Registry(
    "recipes",
    {
        name: f"trainables.config.recipes:{name.upper()}"
        for name in ("standard", "fgsm_retraining", "fgsm_random_start", "pgd", "trades", "gan", "attack_training")
    },
)
"""Each leads to a `Recipe`: the class of its settings, and its loop."""
DATASETS = Registry("datasets", {})
"""Functions that return images by the names that `trainables.data.array_files` describes; ours are in the catalogue."""
ALL = (DATASETS, CLASSIFIERS, GENERATORS, ATTACKS, RECIPES)
"""All tables but that of spaces, which is `search_spaces.library.TABLE`."""
