"""Where a result comes from: code, versions, machine and data."""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

import trainables
from search_spaces.sections import Dataset
from trainables.common.redaction import redact, redact_arguments
from trainables.config import DatasetConfig
from trainables.data import files as data_files
from trainables.storage.checked_json import read_json
from tuner.errors import UserError

FORMAT = 1
FILE = "provenance.json"
TRAINING_CODE = (
    *("training", "networks", "attacks", "evaluation"),
    *("config", "data/tensors.py", "common/seeds.py", "common/tasks.py"),
)
"""The files and folders of `trainables` on which the numbers of a run depend."""
_PACKAGES = ("adversarial-tuner", "torch", "ray", "optuna", "mlflow", "numpy")


def git_commit() -> str | None:
    """Return the commit of the source that is running, with ``-dirty`` if it was changed; None outside a checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        # An installed package lies in no checkout of its own, though perhaps below somebody else's.
        subprocess.run(
            ["git", "-C", str(folder), "ls-files", "--error-unmatch", __file__], check=True, capture_output=True
        )
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that a result depends on."""
    result = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


def processor() -> str:
    """Return the model of this machine's processor, on which the last digits of a result can depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


class Code(TypedDict):
    """The code that trains and evaluates: a digest of each file by its name, and the SHA-256 of all of them."""

    sha256: str
    files: dict[str, str]


@functools.cache
def training_code() -> Code:
    """Return the digests of the code that trains and evaluates; comments, docstrings and layout do not count."""
    root = Path(trainables.__file__).parent
    paths = [path for name in TRAINING_CODE for path in (root / name, *(root / name).rglob("*.py")) if path.is_file()]
    files = {path.relative_to(root.parent).as_posix(): _digest_of_code(path) for path in sorted(paths)}
    return {"sha256": hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest(), "files": files}


def _digest_of_code(path: Path) -> str:
    return hashlib.sha256(repr(_plain(ast.parse(path.read_bytes()))).encode()).hexdigest()[:16]


def _plain(node: object) -> object:
    """Return a syntax tree as tuples, without docstrings and empty fields: equal for every version of Python."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_text(item)]
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, _plain(value)) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind"))
    return type(node).__name__, [(name, value) for name, value in fields if value not in (None, [])]


def _is_text(item: object) -> bool:
    """Return whether a statement is nothing but text, as a docstring is."""
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)


class DatasetOrigin(TypedDict):
    """A dataset's name, and the SHA-256 of its files."""

    name: str
    sha256: str


class Software(TypedDict):
    """The commit, the packages and the code that trains. Files of releases before format 3 of sweeps have no code."""

    git_commit: str | None
    versions: dict[str, str]
    code: NotRequired[Code]


class Resumption(Software):
    """With which other software a sweep went on, when, and whether a change of the code that trains was accepted."""

    time: str
    accepted_code_change: bool


class Provenance(Software):
    """The content of ``provenance.json``: the software, machine, command, space and data of a result.

    A sweep that went on with other software has an entry of `resumed` for each. Files of releases before format 3 of
    sweeps do not say to which sweep they belong.
    """

    format: int
    platform: str
    processor: NotRequired[str]
    command: list[str]
    space: str
    dataset: DatasetOrigin
    sweep_id: NotRequired[str]
    user_code: NotRequired[dict[str, str]]
    resumed: NotRequired[list[Resumption]]


def software() -> Software:
    """Return the software that is running."""
    return {"git_commit": git_commit(), "versions": versions(), "code": training_code()}


def provenance(
    *, source: str, dataset: Dataset | DatasetConfig, user_code: Mapping[str, str] | None = None
) -> Provenance:
    """Return what a person needs to make a result again.

    Args:
        source: of the space, or the command.
        dataset: its settings.
        user_code: SHA-256 of each file and module of a user's own.
    """
    origin = _provenance(source, dataset)
    return {**origin, "user_code": dict(user_code)} if user_code else origin


def _provenance(source: str, dataset: Dataset | DatasetConfig) -> Provenance:
    return {
        "format": FORMAT,
        "git_commit": git_commit(),
        "versions": versions(),
        "code": training_code(),
        "platform": platform.platform(),
        "processor": processor(),
        "command": redact_arguments(sys.argv),
        "space": redact(source),
        "dataset": {"name": dataset.name, "sha256": data_files.digest(dataset.name, dataset.content)},
    }


def read_provenance(folder: Path, sweep_id: str, *, names_sweep: bool) -> Provenance:
    """Return where the results of a sweep come from, as its folder says it.

    Args:
        folder: of the sweep.
        sweep_id: of the sweep.
        names_sweep: whether the file has to say to which sweep it belongs.

    Raises:
        UserError: ``provenance.json`` is missing, damaged or of another sweep.
    """
    path, remedy = folder / "provenance.json", "put a copy of it in its place; nothing was changed"
    try:
        content = read_json(path, Provenance, remedy=remedy, sweep_id=sweep_id)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {remedy}") from error
    if names_sweep and "sweep_id" not in content:
        raise UserError(f"{path} does not say to which sweep it belongs, as that of an earlier release: {remedy}")
    return content
