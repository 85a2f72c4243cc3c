"""JSON files with a checksum: what is read is what was written, of the types that are expected, with finite numbers.

The checksum is the last key, ``sha256``, of the canonical JSON of all others. Files of earlier releases have none, and
are checked for everything else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trainables.errors import UserError
from trainables.storage.bounded import read_bounded

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError  # not loaded by what only writes: the command line's help is such

MAX_BYTES = 64 * 1024**2
_CHECKSUM = "sha256"
_MAX_SHOWN = 60  # characters of a value in a message
_MAX_MISTAKES = 5  # in a message
_Content = TypeVar("_Content")
_adapters: dict[type[Any], TypeAdapter[Any]] = {}  # making one takes a while


def as_json(content: object) -> bytes:
    """Return the content of a JSON file for people to read; an object gets a checksum."""
    if isinstance(content, Mapping):
        plain = json.loads(json.dumps(content))  # as it will be read: keys are text, tuples are lists
        content = {**plain, _CHECKSUM: _digest(plain)}
    return json.dumps(content, indent=2).encode() + b"\n"


def read_json(
    path: Path, model: type[_Content], *, remedy: str, formats: Collection[int] = (1,), sweep_id: str = ""
) -> _Content:
    """Return the content of a JSON object's file.

    Args:
        path: of the file.
        model: what the content is: a model of pydantic, a dataclass or a typed dictionary.
        remedy: what a person can do about a damaged file, as the end of a sentence.
        formats: values of its key ``format`` that are read; a file without the key is read too.
        sweep_id: id of the sweep that it belongs to; a file that does not say it is read, too.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is damaged, of another format or of another sweep, or cannot be read; the message names it.
    """
    text = read_present(path, remedy)
    if text is None:
        raise FileNotFoundError(path)
    return parse_json(path, text, model, remedy=remedy, formats=formats, sweep_id=sweep_id)


def read_present(path: Path, remedy: str) -> bytes | None:
    """Return the content of a file, None if there is none.

    Args:
        path: of the file.
        remedy: what a person can do about a file that cannot be read, as the end of a sentence.

    Raises:
        UserError: it is there and cannot be read.
    """
    try:
        return read_bounded(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): {remedy}") from error


def parse_json(
    path: Path, text: bytes, model: type[_Content], *, remedy: str, formats: Collection[int] = (1,), sweep_id: str = ""
) -> _Content:
    """Return the content of a JSON object's file that has been read; see `read_json`.

    Raises:
        UserError: it is damaged, of another format or of another sweep; the message names it.
    """
    from pydantic import ValidationError

    content = _parse(path, text, remedy)
    _check_format(path, content, formats)
    checksum = content.pop(_CHECKSUM, None)
    if checksum is not None and checksum != _digest(content):
        raise UserError(f"{path} is damaged (its checksum does not match): {remedy}")
    if sweep_id and content.get("sweep_id", sweep_id) != sweep_id:
        raise UserError(f"{path} belongs to another sweep, of the id {_shown(content['sweep_id'])}: {remedy}")
    try:
        validated: _Content = _validate(model, content)
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({mistakes_in_words(error)}): {remedy}") from error
    return validated


def mistakes_in_words(error: ValidationError) -> str:
    """Return the first mistakes that pydantic found in a file's content, each with its key, as one line."""
    mistakes = error.errors(include_url=False)[:_MAX_MISTAKES]
    places = (".".join(map(str, mistake["loc"])) for mistake in mistakes)
    return "; ".join(
        f"{place}: {mistake['msg']}" if place else mistake["msg"]
        for place, mistake in zip(places, mistakes, strict=True)
    )


def _validate(model: type[_Content], content: dict[str, Any]) -> _Content:
    from pydantic import ValidationError

    try:
        return _adapter(model).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        # A path that is no valid UTF-8 has half surrogate pairs, which pydantic's parser refuses.
        if error.errors()[0]["type"] != "json_invalid":
            raise
        validated: _Content = _adapter(model).validate_python(content)
        return validated


def _parse(path: Path, text: bytes, remedy: str) -> dict[str, Any]:
    try:
        content = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repeats
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({str(error)[:200]}): {remedy}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it is no JSON object): {remedy}")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands there twice")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no finite number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_MAX_SHOWN]} is no finite number")
    return number


def _check_format(path: Path, content: Mapping[str, Any], formats: Collection[int]) -> None:
    found, newest = content.get("format", max(formats)), max(formats)
    if type(found) is int and found in formats:
        return
    known = f"format {newest}" if len(formats) == 1 else f"formats {min(formats)} to {newest}"
    release = content.get("release")
    whose = f": it was written by adversarial-tuner {_shown(release, bare=True)}, which reads it" if release else ""
    raise UserError(f"{path} has format {_shown(found)}; this release reads {known}{whose}")


def _shown(value: object, *, bare: bool = False) -> str:
    text = value if bare and isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _adapter(model: type[_Content]) -> TypeAdapter[_Content]:
    from pydantic import TypeAdapter

    if model not in _adapters:
        _adapters[model] = TypeAdapter(model)
    return _adapters[model]
