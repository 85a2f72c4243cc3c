"""Which packages with plug-ins are installed, by the SHA-256 of their code: a run needs those that its settings name.

The code of a package is that of the modules which its entry points lead to, with all modules beside and below them. Its
key in the settings of a run is its name and version, like ``shapes-plugin 0.1.0``. Nothing is imported. No torch here.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from trainables.common.process_state import without_current_folder
from trainables.config.plugins.references import is_weights
from trainables.config.plugins.registries import GROUP, Entry
from trainables.errors import UserError


def is_package(name: str) -> bool:
    """Return whether a key of the code that settings name is an installed package: neither a file nor a module."""
    return " " in name and not name.endswith(".py") and not is_weights(name)


def is_installed(package: str) -> bool:
    """Return whether a package is installed, in whatever version."""
    try:
        metadata.distribution(package.rpartition(" ")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def package_digests(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the SHA-256 of the code of each package that has brought one of some rows, by its name and version.

    Raises:
        UserError: the code of a package is not found.
    """
    return {
        package: digest_of_package(package) for package in sorted({entry.package for entry in entries if entry.package})
    }


def check_packages(code: Mapping[str, str]) -> None:
    """Check that this Python has the packages that a run needs.

    Args:
        code: SHA-256 by name, as the settings of a run have them; files and modules are left out.

    Raises:
        UserError: one is not installed, or another release of it, or another code.
    """
    for package, digest in code.items():
        if is_package(package):
            check_package(package, digest)


def check_package(package: str, digest: str) -> None:
    """Check that this Python has a package that a run needs.

    Args:
        package: its name and version.
        digest: SHA-256 of its code.

    Raises:
        UserError: it is not installed, or another release of it, or another code.
    """
    name, _, version = package.rpartition(" ")
    try:
        here = metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):
        raise UserError(f"the package {package} is not installed here: install it, in that version") from None
    if here != version:
        raise UserError(f"the package {name} is installed here in version {here}, and {version} is needed: install it")
    if digest_of_package(package) != digest:
        raise UserError(
            f"the code of the package {package} is another one here than where the sweep was launched or the bundle "
            "was made: install the same, or give a changed package a version of its own"
        )


@cache  # what a process has imported of it stays, whatever is installed meanwhile
def digest_of_package(package: str) -> str:
    """Return the SHA-256 of the code of a package.

    Args:
        package: its name and version.

    Raises:
        UserError: its code is not found.
    """
    tops = top_modules(package)
    files = [file for top in tops for file in files_of(top)]
    if not files:
        raise UserError(f"the code of the package {package} is not found ({', '.join(tops)}): install it again")
    return digest_of_files((path.relative_to(root).as_posix(), path.read_bytes()) for root, path in files)


def digest_of_files(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 of files of code.

    Args:
        files: their paths, as a package has them, and contents; their order counts.
    """
    total = hashlib.sha256()
    for name, content in files:
        total.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def top_modules(package: str) -> list[str]:
    """Return the top-level modules that the entry points of a package lead to, sorted.

    Args:
        package: its name and version.
    """
    distribution = metadata.distribution(package.rpartition(" ")[0])
    points = [point for point in distribution.entry_points if point.group.startswith(GROUP)]
    return sorted({point.module.partition(".")[0] for point in points})


def files_of(module: str, pattern: str = "*.py") -> list[tuple[Path, Path]]:
    """Return the files of a top-level module, each with the folder that it is named from; none if it is missing.

    Args:
        module: its name; it is not imported.
        pattern: that the names of files in a package's folder, and in those below it, match.
    """
    try:
        with without_current_folder():
            spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return []
    if folders := [Path(folder) for folder in spec.submodule_search_locations or ()]:
        return [(folder.parent, path) for folder in folders for path in sorted(folder.rglob(pattern))]
    return [(Path(spec.origin).parent, Path(spec.origin))] if spec.origin and Path(spec.origin).is_file() else []
