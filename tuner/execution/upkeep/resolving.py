"""What a user brings to a launch: images and code of their own, read, checked and identified before any training.

The space of a sweep then says what was found: ``dataset.content`` (shape, classes, SHA-256 of the images) and ``code``
(SHA-256 of each file and module). The files of code are copied into the sweep's folder.
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
from search_spaces.schema import Space
from search_spaces.sections import Dataset
from trainables.common.tasks import CATALOG_TASKS, Task
from trainables.config import DataContent, DatasetConfig
from trainables.config.plugins import trust, user_code
from trainables.config.plugins.packages import is_package, package_digests
from trainables.config.plugins.references import CodeReference, code_reference, is_image_path
from trainables.config.plugins.registries import DATASETS
from trainables.data import files as data_files
from tuner.errors import UserError
from tuner.execution.upkeep.named import NamedParts
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
    unofficial = data_files.unofficial_folder(space.dataset.name, data)
    named = NamedParts.of_space(space)
    is_own = has_own_images(space.dataset.name) or unofficial is not None or space.dataset.content is not None
    if not named.code and not named.entries and not is_own:
        return ResolvedSpace(text, data)
    found = find_code(named, base, is_trusted)
    changes = [f"code={json.dumps(found.digests)}"] if found.digests else []
    if is_own:
        about, origin = find_images(space.dataset, base, unofficial or data, found.digests, console)
        data = unofficial or data or origin
        content = json.dumps(about.model_dump(mode="json"))
        changes += [f"dataset.content={content}", f"dataset.validation={about.validation}"]
    resolved = assign(text, source, changes)
    resolved_space = parse_space(resolved, source)
    check_parts(named, task_of(resolved_space.dataset), resolved_space.code)
    trust.remember(found.digests.values())
    return ResolvedSpace(resolved, data, found.files)


def code_to_send(space: Space, source: str, *, is_trusted: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return the code that a cluster needs to launch a space: files by their names, and versions of packages by theirs.

    Args:
        space: that is launched.
        source: the path of its file.
        is_trusted: whether code may be run that does not lie beside it.

    Raises:
        UserError: code may not be run or cannot be read.
    """
    base = Path(source).absolute().parent if Path(source).is_file() else None
    found, files = find_code(NamedParts.of_space(space), base, is_trusted), {}
    for name, content in found.files.items():
        try:
            files[name] = content.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{name} is no text in UTF-8 (byte {error.start}): save it as UTF-8") from None
    pairs = (package.rpartition(" ") for package in found.digests if is_package(package))
    return files, {name: version for name, _, version in pairs}


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
    named, dataset = NamedParts.of_settings(settings), DatasetConfig.model_validate(settings["dataset"])
    unofficial = data_files.unofficial_folder(dataset.name, data)
    is_own = has_own_images(dataset.name) or unofficial is not None or dataset.content is not None
    if not named.code and not named.entries and not is_own:
        return ResolvedSettings(settings, data)
    if settings.get("code") and not is_trusted:  # of a bundle, which may be somebody else's
        trust.check(settings["code"], str(base))
    found = find_code(named, base, is_trusted)
    for name, digest in settings.get("code", {}).items():
        if found.digests.get(name, digest) != digest:
            raise UserError(f"{name} here is not the one of the configuration in {base}: its SHA-256 is another")
    settings = {**settings, **({"code": found.digests} if found.digests else {})}
    if is_own:
        about, origin = find_images(dataset, base, unofficial or data, found.digests, console)
        data = unofficial or data or origin
        content = about.model_dump(mode="json")
        settings["dataset"] = {**settings["dataset"], "content": content, "validation": about.validation}
    check_parts(named, task_of(DatasetConfig.model_validate(settings["dataset"])), found.digests)
    trust.remember(found.digests.values())
    return ResolvedSettings(settings, data, found.files)


def has_own_images(name: str) -> bool:
    """Return whether a dataset is none of the catalogue: images of a user's own, or those of an installed package."""
    return is_image_path(name) or name in DATASETS or code_reference(name) is not None


@dataclass(frozen=True)
class FoundCode:
    """Code of others that a run needs.

    Attributes:
        files: their contents by their names.
        digests: SHA-256 of each file, module and package.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def find_code(named: NamedParts, base: Path | None, is_trusted: bool) -> FoundCode:
    """Return the code that is named, and let this process run it.

    Args:
        named: what a space or settings name.
        base: the folder of the space's file, if it has one.
        is_trusted: whether code may be run that does not lie there.

    Raises:
        UserError: it may not be run or cannot be read.
    """
    found = FoundCode(digests=package_digests(named.entries))
    for reference in named.code:
        if not reference.is_file:
            if not is_trusted:
                raise UserError(f"{reference} is code of an installed module that is named: if it may run, say --trust")
            found.digests[reference.where] = user_code.module_digest(reference.where)
            continue
        content = user_code.read_source(_file_of(reference, base, is_trusted))
        name = reference.file_name
        if found.files.setdefault(name, content) != content:
            raise UserError(f"the space names two different files called {name}: rename one of them")
        found.digests[name] = user_code.provide(content)
    return found


def _file_of(reference: CodeReference, base: Path | None, is_trusted: bool) -> Path:
    """Return the path of a file of code: beside the space, or anywhere if it is trusted."""
    is_plain = reference.where == reference.file_name
    if is_plain and base is not None:
        beside = (base / reference.where, base / user_code.CODE / reference.where)  # the latter in a sweep's folder
        return next((path for path in beside if path.is_file()), beside[0])
    if is_trusted:
        path = (base or Path()) / Path(reference.where).expanduser()
        travelled = (base or Path()) / reference.file_name  # a cluster gets it beside the space
        return path if path.is_file() or not travelled.is_file() else travelled
    where = "beside a space's file" if base is None else "beside the space, in its own folder"
    raise UserError(
        f"{reference.where} is code that does not lie {where}: put it there and name it {reference.file_name}:"
        f"{reference.name}, or, if it may run, say --trust"
    )


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


def task_of(dataset: Dataset | DatasetConfig) -> Task:
    """Return the shape of the images and the classes of a dataset whose images were looked at."""
    return DatasetConfig.model_validate(dataset.model_dump()).task
