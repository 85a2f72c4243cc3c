"""What a user brings to a launch: images and code of their own, read, checked and identified before any training.

The space of a sweep then says what was found: ``dataset.content`` (shape, classes, SHA-256 of the images) and ``code``
(SHA-256 of each file and module, and of each file of weights to start from). The files are copied into the sweep's
folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from search_spaces.checks.assignments import assign
from search_spaces.configurations import parse_space, with_bundles
from search_spaces.sections import Dataset
from trainables.common.tasks import CATALOG_TASKS, Task
from trainables.config import DataContent, DatasetConfig
from trainables.config.plugins import trust, user_code
from trainables.config.plugins.references import code_reference, is_image_path, is_weights
from trainables.config.plugins.registries import DATASETS
from trainables.data import files as data_files
from tuner.errors import UserError
from tuner.execution.upkeep.named import NamedParts
from tuner.execution.upkeep.own_code import FoundCode, find_code
from tuner.results.terminal.output import say


@dataclass(frozen=True)
class ResolvedSpace:
    """A space with what was found in images and code of a user's own.

    Attributes:
        text: of the space.
        data: the folder or file of the images, or the one that was given for a dataset of the catalogue.
        code: the files of code, by their names.
    """

    text: str
    data: Path | None = None
    code: Mapping[str, bytes] = field(default_factory=dict)


def resolve_space(text: str, source: str, *, data: Path | None, is_trusted: bool, console: Console) -> ResolvedSpace:
    """Return a space with what its bundles, images and code are; one without any of them is returned as it is.

    Args:
        text: of the space.
        source: the path of its file, or what to call it in messages.
        data: where the images are, instead of where the space says.
        is_trusted: whether code may be run that does not lie beside the space.
        console: says what was found.

    Raises:
        SpaceError: the space has mistakes.
        DataError: the images cannot be used; the message names the file.
        UserError: the code may not be run, cannot be read, fails, or its network cannot be trained and attacked.
    """
    space = parse_space(text, source)
    text = with_bundles(space, text, source)
    base = Path(source).absolute().parent if Path(source).is_file() else None
    course = _Course(NamedParts.of_space(space), space.dataset, base, data, console)
    if course.finds_nothing:
        return ResolvedSpace(text, data)
    found = find_code(course.named, base, is_trusted)
    images = course.images(found)
    changes = [f"code={json.dumps(found.digests)}"] if found.digests else []
    if images.about is not None:
        content = json.dumps(images.about.model_dump(mode="json"))
        changes += [f"dataset.content={content}", f"dataset.validation={images.about.validation}"]
    resolved = assign(text, source, changes)
    course.end(task_of(parse_space(resolved, source).dataset), found)
    return ResolvedSpace(resolved, images.data, found.files)


@dataclass(frozen=True)
class ResolvedSettings:
    """The settings of a run with what was found in images and code of others.

    Attributes:
        settings: complete.
        data: the folder or file of the images, or the one that was given for a dataset of the catalogue.
        code: the files of code, by their names.
    """

    settings: dict[str, Any]
    data: Path | None = None
    code: Mapping[str, bytes] = field(default_factory=dict)


def resolve_settings(
    settings: dict[str, Any], base: Path | None, *, data: Path | None, is_trusted: bool, console: Console
) -> ResolvedSettings:
    """Return the settings of one run with what its images and code are, as `resolve_space` does for a space.

    Args:
        settings: complete.
        base: the folder of their file; a bundle's has its code in it.
        data: where the images are, instead of where the settings say.
        is_trusted: whether code may be run that does not lie beside that file.
        console: says what was found.

    Raises:
        DataError: see `resolve_space`, like UserError.
    """
    dataset = DatasetConfig.model_validate(settings["dataset"])
    course = _Course(NamedParts.of_settings(settings), dataset, base, data, console)
    if course.finds_nothing:
        return ResolvedSettings(settings, data)
    if settings.get("code") and not is_trusted:  # of a bundle, which may be somebody else's
        trust.check(settings["code"], str(base))
    found = find_code(course.named, base, is_trusted)
    for name, digest in settings.get("code", {}).items():
        if found.digests.get(name, digest) != digest:
            raise UserError(f"{name} here is not the one of the configuration in {base}: its SHA-256 is another")
    settings = {**settings, **({"code": found.digests} if found.digests else {})}
    images = course.images(found)
    if images.about is not None:
        content = images.about.model_dump(mode="json")
        settings["dataset"] = {**settings["dataset"], "content": content, "validation": images.about.validation}
    course.end(task_of(DatasetConfig.model_validate(settings["dataset"])), found)
    return ResolvedSettings(settings, images.data, found.files)


@dataclass(frozen=True)
class _Images:
    """What was found in images of one's own, None for the catalogue's, and where they are."""

    about: DataContent | None
    data: Path | None


@dataclass(frozen=True)
class _Course:
    """What is the same for the space of a sweep and for the settings of one run."""

    named: NamedParts
    dataset: Dataset | DatasetConfig
    base: Path | None
    data: Path | None
    console: Console

    @property
    def unofficial(self) -> Path | None:
        return data_files.unofficial_folder(self.dataset.name, self.data)

    @property
    def has_images(self) -> bool:
        name, content = self.dataset.name, self.dataset.content
        return has_own_images(name) or self.unofficial is not None or content is not None

    @property
    def finds_nothing(self) -> bool:
        return not (self.named.code or self.named.entries or self.named.starts or self.has_images)

    def images(self, found: FoundCode) -> _Images:
        if not self.has_images:
            return _Images(None, self.data)
        given = self.unofficial or self.data
        about, origin = find_images(self.dataset, self.base, given, found.digests, self.console)
        return _Images(about, given or origin)

    def end(self, task: Task, found: FoundCode) -> None:
        """Try all parts, and let this user's processes run the code from now on."""
        check_parts(self.named, task, found.digests)
        say_starts(self.named, task, found, self.console)
        trust.remember(digest for name, digest in found.digests.items() if not is_weights(name))


def has_own_images(name: str) -> bool:
    """Return whether a dataset is none of the catalogue: images of a user's own, or those of an installed package."""
    return is_image_path(name) or name in DATASETS or code_reference(name) is not None


def find_images(
    dataset: Dataset | DatasetConfig,
    base: Path | None,
    data: Path | None,
    digests: Mapping[str, str],
    console: Console,
) -> tuple[DataContent, Path | None]:
    """Return what is in images that are none of the catalogue, and where they come from; they are kept in the cache.

    Args:
        dataset: its settings.
        base: the folder from which a path is seen.
        data: where the images are, instead of where the settings say.
        digests: SHA-256 of each file and module of a user's own.
        console: says what was found.

    Raises:
        DataError: the images cannot be used.
    """
    from trainables.data import pack

    reference = code_reference(dataset.name)
    is_nowhere = dataset.name in CATALOG_TASKS and data is None
    origin = data or (base or Path()) / Path(dataset.name).expanduser()
    if reference is not None:
        collection = pack.call_for_images(user_code.load(reference, digests), str(reference))
    elif dataset.name in DATASETS:
        collection = pack.call_for_images(DATASETS[dataset.name], dataset.name)
    elif (is_nowhere or not origin.exists()) and dataset.content is not None and pack.is_packed(dataset.content):
        return dataset.content, None  # the space of an earlier sweep, launched again
    else:
        collection = pack.read_images(origin, lambda done, total, what: None)
    wanted = dataset.wanted if dataset.content is None else {"validation": None, "test": dataset.test}
    if dataset.name in CATALOG_TASKS:
        say(
            console,
            f"{origin} is not known to be the official {dataset.name}: its files are taken as they are; do not publish "
            f"numbers from them as those of {dataset.name}",
            "yellow",
        )
        wanted["validation"] = _as_many_as_suit(wanted["validation"], len(collection.splits["train"]))
    content, about = pack.pack(collection, dataset.name, **wanted)
    pack.keep(content, about)
    channels, height, width = about.image_shape
    colour = "grey" if channels == 1 else "colour"
    text = (
        f"{dataset.name}: {about.train:,} images to train on, {about.validation:,} to validate and {about.test:,} to "
        f"test; {width} x {height}, {colour}; {len(about.classes)} classes: {_listed(about.classes)}"
    )
    say(console, text)
    return about, None if reference or dataset.name in DATASETS else origin.absolute()


def _as_many_as_suit(wanted: int | None, num_images: int) -> int | None:
    """Return how many images to validate on; None for the usual share where so many would leave few to train on."""
    return None if wanted is None or wanted > num_images // 4 else wanted


def _listed(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_parts(named: NamedParts, task: Task, code: Mapping[str, str]) -> None:
    """Look at every recipe, network and attack of others before anything is trained.

    Raises:
        UserError: one cannot be used; the message names it.
    """
    from trainables.evaluation.attack_table import further_attacks, named_attack
    from trainables.judging.conformance import check_attack, check_network
    from trainables.judging.rehearsal import check_body, check_recipe
    from trainables.networks.classifiers import network_builder

    of_packages = {entry.name for entry in named.entries}
    for name in named.recipes:
        if name in of_packages:
            check_recipe(name, task)
    for name in named.bodies:
        if name in of_packages:
            check_body(name, task)
    for name in named.networks:
        if name in of_packages or code_reference(name):
            check_network(network_builder(name, code), name, task)
    for attack in further_attacks(named.attacks, code, named.attack_options):
        check_attack(attack.run, attack.name, task)
    for name in named.training_attacks:
        if name in of_packages or code_reference(name):
            check_attack(named_attack(name, code), name, task)


def say_starts(named: NamedParts, task: Task, found: FoundCode, console: Console) -> None:
    """Say of each file of weights what a classifier takes over from it.

    Raises:
        BundleError: one fits none of the networks that are named, like UserError.
    """
    if not named.starts:
        return
    from trainables.networks.state_dicts import sentence_on_start

    for sentence in dict.fromkeys(sentence_on_start(each, task, found.digests) for each in named.started):
        say(console, sentence)


def task_of(dataset: Dataset | DatasetConfig) -> Task:
    """Return the shape of the images and the classes of a dataset whose images were looked at."""
    return DatasetConfig.model_validate(dataset.model_dump()).task
