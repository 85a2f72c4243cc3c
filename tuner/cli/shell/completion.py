"""What the shell offers when Tab is pressed: sweeps, runs, spaces, settings. It looks at folders, not into studies.

Settings of the package are read from ``settings.json``, which docs/make_reference.py writes: the models themselves take
longer to load than a person waits for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, cast, get_origin

import typer

SPACE = "a space"
_MAX_BYTES = 100_000  # of a space file

Complete = Callable[[typer.Context, str], list[str]]


def _matching(offer: Callable[[Mapping[str, Any]], Iterable[str]]) -> Complete:
    """Return a completion that offers what begins like the word; nothing if what it looks at cannot be read."""

    @wraps(offer)
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [word for word in offer(_typed(ctx)) if word.startswith(incomplete)]
        except Exception:  # a message would stand in the middle of the command line
            return []

    complete.__annotations__ = {"ctx": typer.Context, "incomplete": str}
    del complete.__wrapped__  # typer would read its parameters
    return complete


def _typed(ctx: typer.Context) -> dict[str, Any]:
    """Return the values of parameters that were typed; before the value of an option, arguments are not parsed yet."""
    arguments = [parameter for parameter in ctx.command.params if parameter.param_type_name == "argument"]
    unparsed = {str(parameter.name): word for parameter, word in zip(arguments, ctx.args, strict=False)}
    return {**unparsed, **{name: value for name, value in ctx.params.items() if value is not None}}


def _home(parameters: Mapping[str, Any]) -> Path:
    """Return the folder of all sweeps; an object store is not asked for the sake of a completion."""
    place = str(parameters.get("home_folder") or os.environ.get("TUNER_HOME") or "sweeps")
    return Path(place)


@_matching
def sweeps(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return the names of the sweeps in the home."""
    return sorted(path.parent.name for path in _home(parameters).glob("*/sweep.json"))


@_matching
def runs(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return the numbers of a sweep's trials and the names of its baselines."""
    folder = _home(parameters) / str(parameters["sweep_name"])
    numbers = sorted(int(path.name) for path in (folder / "trials").iterdir() if path.name.isdigit())
    baselines = folder / "baselines"
    named = sorted(path.name for path in baselines.iterdir()) if baselines.is_dir() else []
    return [*map(str, numbers), *(name for name in named if ".aside-" not in name)]


@_matching
def spaces(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return the packaged spaces, those of installed packages, and the YAML files right here."""
    from importlib import metadata

    points = metadata.entry_points(group="adversarial_tuner.spaces")  # quicker than to load their table
    return [*sorted(_packaged()), *(point.name for point in points), *_here("*.yaml")]


@_matching
def space_settings(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return what ``--set`` of a launch takes: keys of the space file, and settings of its trainable."""
    text = _text_of(str(parameters["space"]))
    match = re.search(r"^trainable:\s*([\w-]+)", text, re.MULTILINE)
    known = _known_settings()
    yield from known[SPACE]
    yield from _settings_of(match.group(1), known) if match else ()


@_matching
def configurations(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return what can be trained by its name: trainables and published configurations, and JSON files right here."""
    from trainables.config import CONFIGURATIONS
    from trainables.training.published import PUBLISHED

    return [*CONFIGURATIONS, *PUBLISHED, *_here("*.json")]


@_matching
def trainable_settings(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return what ``--set`` of ``tuner train`` takes: settings of the trainable."""
    name, known = str(parameters["configuration"]), _known_settings()
    if name in known:
        return known[name]
    from trainables.training.published import PUBLISHED

    return _settings_of(PUBLISHED[name].settings["trainable"] if name in PUBLISHED else name, known)


@_matching
def datasets(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return the names of the datasets."""
    from trainables.data.files import names

    return names()


@_matching
def devices(parameters: Mapping[str, Any]) -> Iterable[str]:
    """Return the kinds of devices."""
    return ("auto", "cpu", "cuda")


def _known_settings() -> dict[str, list[str]]:
    """Return the keys of a space file by `SPACE`, and those of each trainable of this package by its name."""
    return cast("dict[str, list[str]]", json.loads((Path(__file__).parent / "settings.json").read_text("utf-8")))


def _settings_of(trainable: str, known: Mapping[str, Iterable[str]]) -> Iterable[str]:
    if trainable in known:
        return known[trainable]
    from trainables.config import CONFIGURATIONS

    return keys(CONFIGURATIONS[trainable])


def keys(model: Any, prefix: str = "") -> Iterable[str]:
    """Yield the keys of a pydantic model and of those in it, each with the ``=`` that follows it."""
    from search_spaces.sections import submodel

    for name, field in model.model_fields.items():
        key = prefix + str(field.validation_alias or name)
        is_list = get_origin(field.annotation) in (tuple, list, Mapping)
        inner = None if is_list else submodel(model, str(field.validation_alias or name))
        if inner is None:
            yield f"{key}="
        else:
            yield from keys(inner, f"{key}.")


def _text_of(space: str) -> str:
    from trainables.storage.bounded import read_bounded

    packaged = _packaged().get(space)
    if packaged is None and not Path(space).exists():
        from search_spaces.library import SPACES

        return SPACES[space][0]
    return read_bounded(packaged or Path(space), _MAX_BYTES).decode()


def _packaged() -> dict[str, Path]:
    """Return the files of the packaged spaces by their names."""
    import search_spaces

    folder = Path(search_spaces.__path__[0]) / "packaged"
    return {path.stem: path for path in folder.rglob("*.yaml")}


def _here(pattern: str) -> list[str]:
    return sorted(path.name for path in Path().glob(pattern))
