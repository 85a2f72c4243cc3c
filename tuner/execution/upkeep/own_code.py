"""The code of others that a launch runs, and the weights that it starts from: found, read, identified by SHA-256."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.schema import Space
from trainables.config.plugins import user_code
from trainables.config.plugins.packages import is_package, package_digests
from trainables.config.plugins.references import CodeReference, is_weights, weights_name
from trainables.config.plugins.wheels import make_wheels
from trainables.storage.bundle_files import WEIGHTS, find_changes
from tuner.errors import UserError
from tuner.execution.upkeep.named import NamedParts


@dataclass(frozen=True)
class FoundCode:
    """Code of others that a run needs.

    Attributes:
        files: their contents by their names; files of weights that a classifier starts from are among them.
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
    from trainables.networks.state_dicts import provide_weights

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
    for start in named.starts:
        path, name = _weights_of(start, base), weights_name(start)
        digest = provide_weights(path)
        if found.digests.setdefault(name, digest) != digest:
            raise UserError(f"two different files of weights are called {name}: rename one of them")
        found.files[name] = path.read_bytes()
    return found


def _weights_of(start: str, base: Path | None) -> Path:
    """Return the path of the weights that a classifier starts from: as the space sees it, or beside it.

    Raises:
        UserError: there is no such file.
    """
    name = weights_name(start)
    given = (base or Path()) / Path(start).expanduser()
    places = (
        given / WEIGHTS if given.is_dir() else given,
        *((base / name, base / user_code.CODE / name) if base else ()),
    )
    path: Path | None = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"there is no file {given}, which a classifier is to start from: name a file with a state dict, or the "
            "folder of a bundle, as the space's file sees it"
        )
    if path.parent == given and (changes := find_changes(given)):
        raise UserError(f"{start} cannot be started from: {'; '.join(changes)}")
    return path


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


@dataclass(frozen=True)
class SentCode:
    """What a cluster needs beside a space to launch it.

    Attributes:
        files: texts of files of code by their names.
        uploads: files of weights that classifiers start from, and wheels of installed packages, by their names.
        packages: versions of installed packages by their names; one without a wheel is needed on every node.
    """

    files: dict[str, str]
    uploads: dict[str, bytes]
    packages: dict[str, str]


def code_to_send(space: Space, source: str, *, is_trusted: bool) -> SentCode:
    """Return the code and weights that a cluster needs to launch a space.

    Args:
        space: that is launched.
        source: the path of its file.
        is_trusted: whether code may be run that does not lie beside it.

    Raises:
        UserError: code may not be run or cannot be read.
    """
    base = Path(source).absolute().parent if Path(source).is_file() else None
    found, files = find_code(NamedParts.of_space(space), base, is_trusted), {}
    weights = {name: content for name, content in found.files.items() if is_weights(name)}
    for name, content in found.files.items():
        if name in weights:
            continue
        try:
            files[name] = content.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{name} is no text in UTF-8 (byte {error.start}): save it as UTF-8") from None
    pairs = (package.rpartition(" ") for package in found.digests if is_package(package))
    return SentCode(files, {**weights, **make_wheels(found.digests)}, {name: version for name, _, version in pairs})
