"""What a sweep is: the space that it was launched with, and the folder that holds it, by which a copy is told from it.

A copied folder holds the same id. It would write into the runs in MLflow, and into the study in a database, that belong
to the sweep it was copied from. A folder that was moved or renamed, restored from a backup, or is reached by another
path is no copy: there is no second one with its id.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from search_spaces.checks.rungs import EARLIER_RUNGS
from search_spaces.configurations import parse_launched_space
from search_spaces.limits import DEVICE_PATTERN
from search_spaces.schema import Space
from trainables.evaluation.earlier_names import present_name, present_watched_name
from trainables.storage.bounded import read_bounded
from trainables.storage.object_store import store_at
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError

SpaceContent = Mapping[str, object]
"""A space by dotted keys, with all defaults, as plain data."""
_ABOUT_THE_SPACE = ("name", "description")
_CHANGEABLE = (
    "resources.",
    "confirm.",
    "budget.time",
    "budget.total_compute",
    "budget.target",
    "budget.until",
    "budget.trial_timeout",
)
"""Keys that change when a search ends and what a run occupies, but not what a run is or how it is chosen."""
_log = logging.getLogger(__name__)
_MAX_BYTES = 16 * 1024**2
_ADDED_BY_FILES = ("parameters.", "constraints.", "code.", "dataset.content.")


def content_of(space: Space) -> SpaceContent:
    """Return a space by dotted keys, with all defaults, without its name and description.

    Two files give the same content if they differ in comments, the order of keys, or defaults that are written out.
    """
    left_out = {"parameters", "bundles", *_ABOUT_THE_SPACE, *(() if space.code else ("code",))}
    content = dict(_flatten(space.model_dump(mode="json", exclude=left_out)))
    content["objective"] = content.pop("objectives")  # as it is called in a file
    for parameter in space.parameters:
        domain = {"kind": type(parameter.domain).__name__, **asdict(parameter.domain)}
        domain = {  # as before steps were known; what is inside of a group is among the parameters
            key: value for key, value in domain.items() if (key, value) != ("step", None) and key != "inside"
        }
        described = {"domain": domain, "when": parameter.when} | ({"prior": parameter.prior} if parameter.prior else {})
        content[f"parameters.{parameter.name}"] = json.loads(json.dumps(described))
    return content


def _with_present_names(content: SpaceContent) -> SpaceContent:
    """Return a space that an earlier release wrote with the present names of its metrics."""
    renamed = dict(content)
    for key in content:
        section, _, rest = key.partition(".")
        metric, _, bound = rest.partition(".")
        if section == "constraints" and bound:
            renamed[f"{section}.{present_name(metric)}.{bound}"] = renamed.pop(key)
    if isinstance(objectives := content.get("objective"), list):
        renamed["objective"] = [{**each, "metric": present_name(each["metric"])} for each in objectives]
    if isinstance(watched := content.get("search.prune_on.metric"), str):
        renamed["search.prune_on.metric"] = present_watched_name(watched)
    return renamed


def digest_of(content: SpaceContent) -> str:
    """Return the SHA-256 of what must not change in a space: two sweeps with the same one can share a table."""
    fixed = {key: value for key, value in content.items() if not key.startswith(_CHANGEABLE)}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def changed_keys(before: SpaceContent, after: SpaceContent) -> list[str]:
    """Return the dotted keys, sorted, in which two spaces differ and a sweep's space must not change."""
    return [key for key in _differences(before, after) if not key.startswith(_CHANGEABLE)]


def changeable_keys(before: SpaceContent, after: SpaceContent) -> list[str]:
    """Return the dotted keys, sorted, in which two spaces differ and a sweep's space may change."""
    return [key for key in _differences(before, after) if key.startswith(_CHANGEABLE)]


def _differences(before: SpaceContent, after: SpaceContent) -> list[str]:
    # A key that only the later one has is one that a later release knows, unless a file can add it.
    keys = {*before, *(key for key in after if key.startswith(_ADDED_BY_FILES))}
    return sorted(key for key in keys if _as_text(before, key) != _as_text(after, key))


def _as_text(content: SpaceContent, key: str) -> str | None:
    return json.dumps(content[key], sort_keys=True) if key in content else None


def _flatten(section: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@dataclass(frozen=True)
class LaunchedSpace:
    """The space that a sweep was launched with.

    Attributes:
        content: see `content_of`.
        text: of the file; None in sweeps whose driver did not keep it.
    """

    content: SpaceContent
    text: str | None = None

    @classmethod
    def of(cls, space: Space, text: str) -> LaunchedSpace:
        """Return what is kept of a space and the text of its file."""
        return cls(content_of(space), text)

    @property
    def code(self) -> dict[str, str]:
        """The SHA-256 of each file, module and package of others that its runs need, by their names."""
        mark = "code."
        return {key.removeprefix(mark): str(value) for key, value in self.content.items() if key.startswith(mark)}

    def to_json(self) -> dict[str, object]:
        """Return what ``sweep.json`` holds of it."""
        return {"sha256": digest_of(self.content), "content": self.content, "text": self.text}


@dataclass(frozen=True)
class Location:
    """Where a sweep lies.

    Attributes:
        place: path of its folder, or a URL.
        inode: of the folder, None for a URL. A renamed folder keeps it, a copied one has another.
        host: name of the machine that has seen it there.
    """

    place: str
    inode: int | None = None
    host: str | None = None

    @classmethod
    def of(cls, store: SweepStore, folder: Path) -> Location:
        """Return where a sweep's folder lies now.

        Args:
            store: that the folder is in.
            folder: of the sweep.
        """
        return cls(store.location(folder), None if store.url else folder.stat().st_ino, socket.gethostname())

    def came_from(self, recorded: Location | None) -> bool:
        """Return whether a sweep was brought here from another machine, where it may still be.

        Args:
            recorded: where its last driver found it.
        """
        return bool(recorded and recorded.host not in (None, self.host) and recorded.inode != self.inode)


@dataclass(frozen=True)
class GpuUse:
    """How the runs of a sweep use GPUs.

    Attributes:
        most: how many GPUs its runs may use; 0 for none, None for all.
        device: ``cuda`` or one like ``cuda:1`` if runs must train on a GPU, or on that one; None if they need not.
    """

    most: Annotated[int, Field(ge=0)] | None = None
    device: Annotated[str, Field(pattern=DEVICE_PATTERN)] | None = None


class SweepMeta(BaseModel):
    """The content of ``sweep.json``; formats 1 and 2 have no space and no location.

    Sweeps of earlier releases say nothing of GPUs.
    """

    model_config = ConfigDict(frozen=True)

    format: int
    id: str = Field(pattern="^[0-9a-f]{32}$")
    num_trials: int = Field(ge=1)
    data: str | None
    created: str
    study_storage: str | None = None
    max_concurrent: int | None = Field(default=None, ge=1)
    gpus: GpuUse = GpuUse()
    space: LaunchedSpace | None = None
    location: Location | None = None

    @field_validator("space", mode="after")
    @classmethod
    def _with_present_names(cls, space: LaunchedSpace | None) -> LaunchedSpace | None:
        return space and replace(space, content=_with_present_names(space.content))


def read_space(text: str, path: Path, launched: LaunchedSpace | None) -> tuple[Space, tuple[str, ...]]:
    """Return the space of a sweep, and in which keys its file was edited though they must not change.

    Args:
        text: of the file.
        path: of the file.
        launched: the space that the sweep was launched with, if it is known.
    """
    rungs = _rungs_of(launched.content) if launched else EARLIER_RUNGS
    draws = launched.content.get("search.prior_draws") if launched else None
    gpu = launched.content.get("resources.gpu", 0.0) if launched else 0.0
    pack = launched.content.get("resources.pack", 1) if launched else 1

    def parse(text: str) -> Space:
        return parse_launched_space(
            text,
            str(path),
            rungs,
            draws if isinstance(draws, int) else 0,
            float(gpu) if isinstance(gpu, int | float) else None,
            pack if isinstance(pack, int) else None,
        )

    space = parse(text)
    changed = changed_keys(launched.content, content_of(space)) if launched else []
    if not changed or launched is None:
        return space, ()
    _warn_once(
        f"{path} was edited after the launch ({', '.join(changed)}): what is shown is of the space that was launched"
    )
    return parse(launched.text) if launched.text else space, tuple(changed)


def _rungs_of(content: SpaceContent) -> Mapping[str, float]:
    """Return the first rung of the pruner that a sweep was launched with, by the pruner's name."""
    rungs = {name: content.get(f"search.pruner.{name}.min_resource") for name in EARLIER_RUNGS}
    return {name: float(rung) for name, rung in rungs.items() if isinstance(rung, int | float)}


@functools.lru_cache(maxsize=1000)
def _warn_once(text: str) -> None:
    _log.warning("%s", text)


def refuse_copy(store: SweepStore, folder: Path, sweep_id: str, recorded: Location | None) -> None:
    """Check that a sweep's folder is not a copy of another one that exists.

    Args:
        store: that the folder is in.
        folder: of the sweep.
        sweep_id: of the sweep.
        recorded: where the sweep's last driver has recorded that it lies; None if an earlier release did not.

    Raises:
        UserError: another folder holds the same sweep; the message names it.
    """
    here = Location.of(store, folder)
    if recorded and recorded.place != here.place and _holds_too(recorded.place, store, folder, sweep_id):
        raise _is_copy(here, recorded.place)
    if store.url is not None or (recorded and recorded.inode == here.inode):
        return
    for name in store.names():
        other = str(folder.with_name(name))
        if name != folder.name and _holds_too(other, store, folder, sweep_id):
            raise _is_copy(here, other)


def _holds_too(place: str, store: SweepStore, folder: Path, sweep_id: str) -> bool:
    """Return whether another place than the folder holds a sweep; only its own disk or bucket is asked."""
    try:
        if store.url is None:
            meta = json.loads(read_bounded(Path(place) / "sweep.json", _MAX_BYTES))
            return bool(meta["id"] == sweep_id and not folder.samefile(place))
        if urlsplit(place)[:2] != urlsplit(store.url)[:2]:
            return False
        return bool(json.loads(store_at(place).read("sweep.json") or b"{}").get("id") == sweep_id)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _is_copy(here: Location, other: str) -> UserError:
    name = here.place.rpartition("/")[2]
    return UserError(
        f"{here.place} and {other} hold the same sweep: one of them is a copy. `tuner copy {name} NEW` makes a sweep "
        "of its own from it; if one of the two is not needed, remove it or move it out of this home"
    )
