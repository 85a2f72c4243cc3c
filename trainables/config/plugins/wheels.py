"""Wheels of installed packages with plug-ins: how their code gets to where they are not installed.

A sweep keeps one for each package that its runs need, and a launch on a cluster sends it along. It holds what was
installed of the package, its names, version and entry points, and can be installed as any other wheel. No torch here.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import importlib
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath

from trainables.config.plugins import trust
from trainables.config.plugins.packages import (
    check_package,
    check_packages,
    digest_of_files,
    digest_of_package,
    files_of,
    is_installed,
    is_package,
    top_modules,
)
from trainables.config.plugins.registries import GROUP, look_again
from trainables.config.plugins.user_code import CODE
from trainables.errors import UserError, printable
from trainables.storage.atomic import cache_folder, make_private, reason_of, whole_folder
from trainables.storage.bounded import read_bounded

MAX_BYTES = 32 * 1024**2
"""Size of a wheel, and of its files together."""

_COMPILED = {".so", ".pyd", ".dylib", ".dll", ".pyc", ".pyo"}
_MAX_FILES = 10_000
_WHEEL = "Wheel-Version: 1.0\nGenerator: adversarial-tuner\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_OURS = "adversarial-tuner"

ReadWheel = Callable[[str], bytes | None]
"""Takes the name of a wheel; returns its content, None if there is none."""


def wheel_name(package: str) -> str:
    """Return the name of a package's wheel, from the package's name and version."""
    return f"{_stem(package)}-py3-none-any.whl"


def _stem(package: str) -> str:
    name, _, version = package.rpartition(" ")
    return f"{re.sub(r'[^A-Za-z0-9.]+', '_', name)}-{re.sub(r'[^A-Za-z0-9.+!]+', '_', version)}"


def make_wheels(code: Mapping[str, str]) -> dict[str, bytes]:
    """Return the wheels of the packages that a run needs, by their names, without those that cannot be made.

    Args:
        code: SHA-256 by name, as the settings of a run have them.
    """
    made = {wheel_name(package): make_wheel(package) for package in code if is_package(package)}
    return {name: content for name, content in made.items() if content is not None}


def make_wheel(package: str) -> bytes | None:
    """Return a wheel of an installed package; the same files make the same bytes.

    It holds everything below the modules that the package's entry points lead to, wherever they lie (an editable
    installation has them elsewhere), but for hidden files such as ``.env``. Returns None for a package that has other
    modules, too, or compiled code, which may not run on another machine, and for one that is too large or cannot be
    read.

    Args:
        package: its name and version.
    """
    distribution = metadata.distribution(package.rpartition(" ")[0])
    tops = top_modules(package)
    paths = {path.relative_to(root).as_posix(): path for top in tops for root, path in files_of(top, "*")}
    paths = {name: path for name, path in paths.items() if path.is_file() and not _is_left_out(name)}
    if not all(map(_may_travel, paths)) or _other_modules(distribution, tops):
        return None
    try:
        if sum(path.stat().st_size for path in paths.values()) > MAX_BYTES:
            return None
        files = {name: path.read_bytes() for name, path in paths.items()}
    except OSError:
        return None
    info = f"{_stem(package)}.dist-info"
    texts = {
        "METADATA": distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or "",
        "WHEEL": _WHEEL,
        "entry_points.txt": _entry_points_text(distribution),
    }
    files |= {f"{info}/{name}": text.encode() for name, text in texts.items()}
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name)  # of the year 1980
            member.external_attr = 0o644 << 16
            archive.writestr(member, files[name], zipfile.ZIP_DEFLATED)
    return packed.getvalue() if packed.tell() <= MAX_BYTES else None


def _is_left_out(name: str) -> bool:
    """Return whether a file below a module is hidden, and no code, or is made by Python itself."""
    path = PurePosixPath(name)
    is_hidden = any(part.startswith(".") for part in path.parts) and path.suffix != ".py"
    return is_hidden or "__pycache__" in path.parts


def _may_travel(name: str) -> bool:
    """Return whether a file is no compiled code, which would run in the place of the source, and its name is plain."""
    path = PurePosixPath(name)
    is_plain = "\\" not in name and name.encode(errors="replace") == os.fsencode(name)
    return is_plain and "__pycache__" not in path.parts and not _COMPILED.intersection(path.suffixes)


def _other_modules(distribution: metadata.Distribution, tops: Collection[str]) -> bool:
    """Return whether an installer has recorded modules of a package that none of its entry points leads to."""
    recorded = (distribution.read_text("RECORD") or "").splitlines()
    names = [PurePosixPath(line.partition(",")[0]) for line in recorded]
    own = {*tops, *(f"{top}.py" for top in tops)}
    return any(
        name.suffix == ".py" and name.parts[0] not in own and not name.name.startswith("__editable__") for name in names
    )


def _entry_points_text(distribution: metadata.Distribution) -> str:
    """Return the content of ``entry_points.txt`` with our groups alone."""
    points = sorted((point.group, point.name, point.value) for point in distribution.entry_points)
    groups = dict.fromkeys(group for group, _, _ in points if group.startswith(GROUP))
    return "\n".join(
        line
        for of in groups
        for line in (f"[{of}]", *(f"{name} = {value}" for group, name, value in points if group == of))
    )


def _record(files: Mapping[str, bytes], own_name: str) -> bytes:
    lines = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={digest},{len(files[name])}\n")
    return "".join([*lines, f"{own_name},,\n"]).encode()


def missing_packages(code: Mapping[str, str]) -> list[str]:
    """Return the packages that a run needs and that are not installed, in whatever version.

    Args:
        code: SHA-256 by name, as the settings of a run have them.
    """
    return [package for package in code if is_package(package) and not is_installed(package)]


def provide_packages(code: Mapping[str, str], read: ReadWheel) -> None:
    """Let this process use the packages that a run needs, from their wheels where they are not installed.

    The caller has made sure that their code may run. Nothing of it runs here.

    Args:
        code: SHA-256 by name, as the settings of a run have them; files and modules are left out.
        read: see `ReadWheel`; called for what is not installed.

    Raises:
        UserError: a package is not installed and has no wheel, or is another one; or see `provide_wheel`.
    """
    for package in missing_packages(code):
        content = read(wheel_name(package))
        if content is not None:
            provide_wheel(package, content, code[package])
    check_packages(code)


def provide_kept(code: Mapping[str, str], folder: Path, fetch: Callable[[Path], None]) -> None:
    """Let this process use the packages that a sweep needs and that are not installed, if the user lets their code run.

    Args:
        code: SHA-256 by name, as the settings of its runs have them.
        folder: of the sweep.
        fetch: brings a file of it here if it is in an object store.

    Raises:
        UserError: the sweep has no wheel of a package, or its code may not run here; or see `provide_wheel`.
    """
    for package in missing_packages(code):
        path = folder / CODE / wheel_name(package)
        fetch(path)
        problem = f"{folder.name} needs the package {package}, which is not installed here: install it, in that version"
        if not path.is_file():
            raise UserError(problem)
        if not trust.is_known(code[package]):
            raise UserError(f"{problem}; or read its code in {path}, then `tuner trust {folder.name}` lets it run")
        provide_wheel(package, _content_of(path), code[package])


def _content_of(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason_of(error)}") from error


def provide_wheel(package: str, content: bytes, digest: str = "") -> None:
    """Let this process use a package from its wheel, which is unpacked into the cache of this user.

    What is installed goes before it.

    Args:
        package: its name and version.
        content: of the wheel.
        digest: SHA-256 of the package's code, if it is known.

    Raises:
        UserError: the wheel is damaged, is that of another package or of other code, or needs what is not installed; or
            the cache cannot be written.
    """
    files = read_wheel(package, content, digest)
    folder = cache_folder("packages") / hashlib.sha256(content).hexdigest()
    try:
        if not _holds(folder, files):
            make_private(folder.parent)
            with whole_folder(folder, replace=True) as whole:
                for name, text in files.items():
                    (whole / name).parent.mkdir(parents=True, exist_ok=True)
                    (whole / name).write_bytes(text)
    except OSError as error:
        if not _holds(folder, files):  # else another process was faster
            raise UserError(
                f"cannot write {folder.parent}: {reason_of(error)}; set TUNER_CACHE to a folder that can be written"
            ) from error
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    look_again()
    try:
        _check_needs(package)
        if digest:
            check_package(package, digest)
    except UserError:
        sys.path.remove(str(folder))
        importlib.invalidate_caches()
        digest_of_package.cache_clear()
        look_again()
        raise


def read_wheel(package: str, content: bytes, digest: str = "") -> dict[str, bytes]:
    """Return the files of a wheel that `make_wheel` has made, by their paths.

    Args:
        package: its name and version.
        content: of the wheel.
        digest: SHA-256 of the package's code, if it is known.

    Raises:
        UserError: the wheel is damaged, or is that of another package or of other code.
    """
    remedy = "put a copy of it in its place, or install the package"
    try:
        files = _unpacked(content)
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{wheel_name(package)} is damaged: {printable(str(error))}; {remedy}") from error
    try:
        tops = _top_modules(files[f"{_stem(package)}.dist-info/entry_points.txt"].decode())
        parts = {PurePosixPath(name).parts[0].removesuffix(".py") for name in files}
    except (KeyError, ValueError, configparser.Error):
        tops, parts = [], set()
    if not tops or parts != {*tops, f"{_stem(package)}.dist-info"} or not all(map(_may_travel, files)):
        raise UserError(f"{wheel_name(package)} is no wheel of {package}; {remedy}")
    paths = sorted(PurePosixPath(name) for name in files if name.endswith(".py"))
    ordered = [path for top in tops for path in paths if path.parts[0] in (top, f"{top}.py")]
    if digest and digest_of_files((str(path), files[str(path)]) for path in ordered) != digest:
        raise UserError(f"{wheel_name(package)} has another code than the sweep was launched with; {remedy}")
    return files


def _top_modules(entry_points: str) -> list[str]:
    """Return the top-level modules that the text of ``entry_points.txt`` leads to, sorted; it has our groups alone."""
    points = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    points.read_string(entry_points)
    if not all(section.startswith(GROUP) for section in points.sections()):
        raise ValueError("entry points of other groups")
    return sorted({re.split(r"[.:]", value)[0] for section in points.sections() for value in points[section].values()})


def _unpacked(content: bytes) -> dict[str, bytes]:
    """Return the files of a wheel by their paths, which all lie below a folder that it is unpacked into.

    Raises:
        ValueError: there is something else in it, or too much.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES / 1e6:.0f} MB")
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > MAX_BYTES or len(members) > _MAX_FILES:
            raise ValueError(f"it has more than {MAX_BYTES / 1e6:.0f} MB or {_MAX_FILES:,} files")
        for member in members:
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename or not path.parts:
                raise ValueError(f"it holds {member.filename!r}, which lies outside of it")
            with archive.open(member) as file:
                files[str(path)] = file.read(MAX_BYTES)
    return files


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _check_needs(package: str) -> None:
    """Check that what a package needs is installed.

    Raises:
        UserError: something is not.
    """
    required = [line for line in metadata.requires(package.rpartition(" ")[0]) or () if ";" not in line]
    names = [match[0] for line in required if (match := re.match(r"[A-Za-z0-9][\w.-]*", line))]
    if lacking := [name for name in names if name.lower() != _OURS and not is_installed(f"{name} 0")]:
        raise UserError(f"{package} needs {', '.join(lacking)}, not installed here: install it, or {package} itself")


def check_kept(code: Mapping[str, str], folder: Path, fetch: Callable[[Path], None]) -> None:
    """Check the wheels that a sweep keeps.

    Args:
        code: SHA-256 by name, as the settings of its runs have them.
        folder: of the sweep.
        fetch: brings a file of it here if it is in an object store.

    Raises:
        UserError: one is damaged, or is that of another package or of other code.
    """
    for package in filter(is_package, code):
        path = folder / CODE / wheel_name(package)
        fetch(path)
        if path.is_file():
            read_wheel(package, _content_of(path), code[package])
