"""What of others a space or a run names: functions in files and modules, and rows of installed packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.parameters import Choice, Fixed, FloatRange, Fragments, IntRange, Parameter, leaf_values
from search_spaces.schema import Space
from trainables.config import ClassifierConfig, parse
from trainables.config.plugins import registries
from trainables.config.plugins.references import CodeReference, code_reference
from trainables.config.plugins.registries import Entry, Registry

_ARCHITECTURE, _BODY, _ATTACK = ("classifier", "architecture"), ("generator", "body"), ("attack", "name")
_START = ("classifier", "start")


@dataclass(frozen=True)
class NamedParts:
    """The names that a space or settings have for what others can add.

    Attributes:
        dataset: of the images.
        recipes: of the trials and the baselines.
        networks: classifiers that a run may have.
        bodies: of generators that a run may have.
        attacks: beside those that always run in an evaluation.
        training_attacks: whose images a run may be trained on.
        attack_options: settings of attacks in an evaluation, by their names.
        starts: files of weights that a classifier may start from.
        started: the classifiers that start from one, as far as they are known before a trial is drawn.
    """

    dataset: str
    recipes: tuple[str, ...]
    networks: tuple[str, ...]
    bodies: tuple[str, ...]
    attacks: tuple[str, ...]
    training_attacks: tuple[str, ...] = ()
    attack_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    starts: tuple[str, ...] = ()
    started: tuple[ClassifierConfig, ...] = ()

    @classmethod
    def of_space(cls, space: Space) -> NamedParts:
        """Return what a space names."""
        return cls(
            space.dataset.name,
            tuple(dict.fromkeys((space.trainable, *(baseline.trainable for baseline in space.baselines)))),
            tuple(_values(space, _ARCHITECTURE)),
            tuple(_values(space, _BODY)),
            space.evaluation.attacks,
            tuple(_values(space, _ATTACK)),
            space.evaluation.attack_options,
            tuple(_values(space, _START)),
            tuple(_started(space)),
        )

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> NamedParts:
        """Return what the complete settings of a run name."""
        values = dict(leaf_values(dict(settings)))
        paths = (_ARCHITECTURE, _BODY, _ATTACK, _START)
        named = [(str(values[path]),) if path in values else () for path in paths]
        evaluation = settings["evaluation"]
        return cls(
            str(settings["dataset"]["name"]),
            (str(settings["trainable"]),),
            named[0],
            named[1],
            tuple(map(str, evaluation.get("attacks", ()))),
            named[2],
            evaluation.get("attack_options", {}),
            named[3],
            (parse(dict(settings)).classifier,) if named[3] else (),
        )

    @property
    def all_attacks(self) -> tuple[str, ...]:
        """Those of the evaluation and those that are trained on, each once."""
        return tuple(dict.fromkeys((*self.attacks, *self.training_attacks)))

    @property
    def code(self) -> list[CodeReference]:
        """The functions in files and modules, each once."""
        references = (code_reference(name) for name in (self.dataset, *self.networks, *self.all_attacks))
        return list(dict.fromkeys(filter(None, references)))

    @property
    def entries(self) -> list[Entry]:
        """The rows of installed packages."""
        tables: tuple[tuple[Registry, tuple[str, ...]], ...] = (
            (registries.DATASETS, (self.dataset,)),
            (registries.RECIPES, self.recipes),
            (registries.CLASSIFIERS, self.networks),
            (registries.GENERATORS, self.bodies),
            (registries.ATTACKS, self.all_attacks),
        )
        rows = [table.entries[name] for table, names in tables for name in names if name in table]
        return [row for row in rows if row.package]


def _values(space: Space, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the values that a setting may have in a trial or a baseline of a space, each once."""
    values: list[object] = []
    for parameter in space.parameters:
        values += _values_of(parameter.setting, parameter.domain, path)
    for baseline in space.baselines:
        values += [value for keys, value in leaf_values(baseline.settings) if keys == path]
    yield from dict.fromkeys(value for value in values if isinstance(value, str))


def _started(space: Space) -> Iterator[ClassifierConfig]:
    """Yield a classifier for each network with each file of weights to start from, otherwise as in the first trial."""
    starts = list(_values(space, _START))
    first = space.settings(_first_value).get("classifier", {}) if starts else {}
    usual = first.get("architecture", ClassifierConfig().architecture)
    for start in starts:
        for architecture in tuple(_values(space, _ARCHITECTURE)) or (usual,):
            own = first if architecture == usual else {}
            options = {key: own[key] for key in ("width", "depth", "options") if key in own}
            yield ClassifierConfig(architecture=architecture, start=start, **options)


def _first_value(parameter: Parameter) -> Any:
    domain = parameter.domain
    return domain.low if isinstance(domain, FloatRange | IntRange) else domain.values[0]


def _values_of(path: tuple[str, ...], domain: object, wanted: tuple[str, ...]) -> list[object]:
    if isinstance(domain, Fragments):
        groups = domain.settings.values()
        return [value for group in groups for keys, value in leaf_values(group) if (*path, *keys) == wanted]
    if path != wanted:
        return []
    return [domain.value] if isinstance(domain, Fixed) else list(domain.values) if isinstance(domain, Choice) else []
