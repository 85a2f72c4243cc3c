"""What a user brings to a launch: images and code of their own, read, checked and identified before any training.

The space of a sweep then says what was found: ``dataset.content`` (shape, classes, SHA-256 of the images) and ``code``
(SHA-256 of each file and module). The files of code are copied into the sweep's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from search_spaces.checks.assignments import assign
from search_spaces.configurations import parse_space, with_bundles
from search_spaces.parameters import Choice, Fixed, Fragments, leaf_values
from search_spaces.schema import Space
from trainables.common.tasks import CATALOG_TASKS, Task
from trainables.config import DataContent, DatasetConfig
from trainables.config.plugins import trust, user_code
from trainables.config.plugins.references import CodeReference, code_reference, is_image_path
from trainables.config.plugins.registries import DATASETS
from trainables.data import files as data_files
from tuner.errors import UserError
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
    references = list(_references(space))
    unofficial = data_files.unofficial_folder(space.dataset.name, data)
    if space.dataset.content is None and unofficial is None and not references and not _has_own_images(space):
        return ResolvedSpace(text, data)
    found = _find_code(references, base, is_trusted)
    for file in found.files.values():
        user_code.provide(file)
    changes = [f"code={json.dumps(found.digests)}"] if found.digests else []
    if _has_own_images(space) or unofficial or space.dataset.content is not None:
        about, origin = _find_images(space, base, unofficial or data, found.digests, console)
        data = unofficial or data or origin
        content = json.dumps(about.model_dump(mode="json"))
        changes += [f"dataset.content={content}", f"dataset.validation={about.validation}"]
    resolved = assign(text, source, changes)
    _check_networks(parse_space(resolved, source), references)
    trust.remember(found.digests.values())
    return ResolvedSpace(resolved, data, found.files)


def _has_own_images(space: Space) -> bool:
    name = space.dataset.name
    return is_image_path(name) or name in DATASETS or code_reference(name) is not None


def _references(space: Space) -> Iterator[CodeReference]:
    """Yield the functions of a user's own that a space names."""
    names: list[object] = [space.dataset.name]
    for parameter in space.parameters:
        names += _architectures(parameter.path, parameter.domain)
    for baseline in space.baselines:
        names += [value for path, value in leaf_values(baseline.settings) if path == ("classifier", "architecture")]
    for name in dict.fromkeys(name for name in names if isinstance(name, str)):
        if reference := code_reference(name):
            yield reference


def _architectures(path: tuple[str, ...], domain: object) -> list[object]:
    if isinstance(domain, Fragments):
        groups = domain.settings.values()
        return [
            value
            for group in groups
            for keys, value in leaf_values(group)
            if (*path, *keys) == ("classifier", "architecture")
        ]
    if path != ("classifier", "architecture"):
        return []
    return [domain.value] if isinstance(domain, Fixed) else list(domain.values) if isinstance(domain, Choice) else []


@dataclass(frozen=True)
class _Code:
    files: dict[str, bytes] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def _find_code(references: list[CodeReference], base: Path | None, is_trusted: bool) -> _Code:
    found = _Code()
    for reference in references:
        if not reference.is_file:
            if not is_trusted:
                raise UserError(
                    f"{reference} is code of an installed module that the space names: if it may run, launch with "
                    "--trust"
                )
            found.digests[reference.where] = user_code.module_digest(reference.where)
            continue
        content = user_code.read_source(_file_of(reference, base, is_trusted))
        name = reference.file_name
        if found.files.setdefault(name, content) != content:
            raise UserError(f"the space names two different files called {name}: rename one of them")
        found.digests[name] = user_code.digest_of(content)
    return found


def _file_of(reference: CodeReference, base: Path | None, is_trusted: bool) -> Path:
    """Return the path of a file of code: beside the space, or anywhere if it is trusted."""
    is_plain = reference.where == reference.file_name
    if is_plain and base is not None:
        beside = (base / reference.where, base / user_code.CODE / reference.where)  # the latter in a sweep's folder
        return next((path for path in beside if path.is_file()), beside[0])
    if is_trusted:
        return (base or Path()) / Path(reference.where).expanduser()
    where = "beside a space's file" if base is None else "beside the space, in its own folder"
    raise UserError(
        f"{reference.where} is code that does not lie {where}: put it there and name it {reference.file_name}:"
        f"{reference.name}, or, if it may run, launch with --trust"
    )


def _find_images(
    space: Space, base: Path | None, data: Path | None, digests: Mapping[str, str], console: Console
) -> tuple[DataContent, Path | None]:
    """Return what is in the images, which are kept in the cache, and where they come from."""
    from trainables.data import pack

    dataset = space.dataset
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


def _check_networks(space: Space, references: list[CodeReference]) -> None:
    """Look at every network of a user's own before anything is trained."""
    from trainables.judging.conformance import check_network
    from trainables.networks.classifiers import network_builder

    task = task_of(space)
    for reference in references:
        if str(reference) != space.dataset.name:
            check_network(network_builder(str(reference), space.code), str(reference), task)


def task_of(space: Space) -> Task:
    """Return the shape of the images and the classes of a space whose images were looked at."""
    return DatasetConfig.model_validate(space.dataset.model_dump()).task
