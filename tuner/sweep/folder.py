"""A sweep is a folder: its search space, its target, and the results of its runs.

``space.yaml`` (the file as it was given), ``sweep.json`` (identity and target), ``provenance.json``, ``study.journal``
(the ledger, unless a database holds it), and for every run
``trials/0007/`` or ``baselines/standard/`` with ``metrics.jsonl`` and ``checkpoint/``.

The format in ``sweep.json`` is that of the whole folder. Every other JSON file and every checkpoint says its own, too.
Format 3 has the space that the sweep was launched with, and where its folder lies, see `tuner.sweep.identity`. Formats
1 and 2 (with the ledger in a database) are of earlier releases; the next driver makes 3 of them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import math
import os
import re
import socket
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from search_spaces.configurations import parse_space
from search_spaces.library import text_of
from search_spaces.schema import Space
from search_spaces.sections import NAME_PATTERN
from trainables.errors import StorageError
from trainables.storage.atomic import cache_folder, make_private, write_json
from trainables.storage.checked_json import read_json
from trainables.storage.object_store import check_url, is_url, path_of
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.storage.file_lock import is_locked, locked
from tuner.storage.metrics_file import names_its_run
from tuner.storage.observations import Observation
from tuner.sweep.identity import (
    OWNER,
    LaunchedSpace,
    Location,
    SweepMeta,
    changeable_keys,
    changed_keys,
    content_of,
    read_owner,
    refuse_copy,
)
from tuner.sweep.provenance import provenance, versions

if TYPE_CHECKING:
    from trainables.storage.checkpoint import RunCheckpoint
    from tuner.storage.postgres_lock import StudyLock
    from tuner.sweep.runs import Record

FORMAT = 1
"""Of the JSON files in a sweep's folder other than ``sweep.json``."""
SWEEP_FORMAT = 3
_READABLE = (1, 2, SWEEP_FORMAT)
WARM_START = "warm_start.json"
_PUT_BACK = "put a copy of it in its place; nothing was changed"
NAME = re.compile(NAME_PATTERN)
_SLIP_OF_URL = re.compile(r"[A-Za-z][\w+.:-]+:/")
_LOCK = ".lock"
# How long a driver waits for the lock: longer than a look by `tuner status` holds it.
_LOCK_WAIT_S = 1.0
_log = logging.getLogger(__name__)


def home(place: str | Path | None = None) -> SweepStore:
    """Return the store of all sweeps: the argument, else ``TUNER_HOME``, else the folder ``sweeps`` right here.

    For the URL of an object store, its root is a working copy in this machine's cache.

    Raises:
        UserError: the URL does not name an object store, contains a secret, or cannot be reached.
    """
    place = str(place or os.environ.get("TUNER_HOME") or "sweeps")
    if _SLIP_OF_URL.match(place) and not is_url(place):
        raise UserError(f"--home {place} is neither a URL like s3://BUCKET/FOLDER nor a path; a folder is ./{place}")
    if not is_url(place):
        return SweepStore(Path(place).absolute())
    scheme, _, rest = place.partition("://")
    url = f"{scheme.lower()}://{rest}"
    try:
        if url.startswith("file://"):
            return SweepStore(path_of(url))
        check_url(url)
    except (ValueError, StorageError) as error:
        raise UserError(f"the sweeps' storage cannot be used: {error}; choose another --storage") from error
    copy = cache_folder("sweeps") / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    make_private(copy)
    return SweepStore(copy, url)


@dataclass(frozen=True)
class SweepFolder:
    """One search over one space, in one folder."""

    folder: Path
    store: SweepStore
    """The store of all sweeps, this one's folder among them; whatever is written into the folder goes through it."""
    space: Space
    id: str
    num_trials: int
    data: str | None
    created: str
    study_storage: str | None = None
    max_concurrent: int | None = None
    """Largest number of its runs that train at the same time; by default its share of the cluster."""
    launched: LaunchedSpace | None = None
    """The space that it was launched with; None in sweeps of format 1 or 2."""
    location: Location | None = None
    """Where its last driver found it; None in sweeps of format 1 or 2."""
    edited_keys: tuple[str, ...] = ()
    """Dotted keys in which ``space.yaml`` differs from `launched`, though they must not; `space` is as launched."""

    @property
    def name(self) -> str:
        """The sweep's name, which is its folder's."""
        return self.folder.name

    @property
    def place(self) -> str:
        """Where it is kept: its folder, or a URL of which the folder is a working copy."""
        return self.store.location(self.folder)

    @cached_property  # the grid of a large space takes a while
    def num_seeds(self) -> int:
        """Number of seeds of each baseline: as many as each point of the grid gets within the number of trials."""
        if self.space.seeds == 1:
            return 1
        return min(self.space.seeds, math.ceil(self.num_trials / self.space.num_grid_points))

    @property
    def num_runs(self) -> int:
        """Number of runs that the sweep asks for, baselines included."""
        return self.num_trials + len(self.space.baselines) * self.num_seeds

    @property
    def journal(self) -> Path:
        """The file that holds the study."""
        return self.folder / "study.journal"

    @classmethod
    def create(
        cls,
        name: str,
        text: str,
        source: str,
        *,
        home: Path | SweepStore,
        num_trials: int | None = None,
        data: Path | None = None,
        warm_start: Sequence[Observation] = (),
        study_storage: str | None = None,
        max_concurrent: int | None = None,
    ) -> SweepFolder:
        """Make the folder of a new sweep; it appears whole or not at all.

        Args:
            name: of the sweep, unique in its home.
            text: the search-space file.
            source: where the text came from, for messages and provenance.
            home: see `home`.
            num_trials: number of trials; by default the space's.
            data: folder where the dataset's files were put by hand.
            warm_start: trials of earlier sweeps that fit, see `tuner.search.warm_start.collect_observations`.
            study_storage: URL of the database that holds the study, without a password; else it is a file.
            max_concurrent: largest number of runs at the same time; by default the sweep's share of the cluster.

        Raises:
            UserError: the name is taken or not allowed, or the home cannot be written.
            SpaceError: the space has mistakes.
        """
        check_available(name, home, study_storage)
        space, store = parse_space(text, source), SweepStore.of(home)
        sweep = cls(
            folder=store.root / name,
            store=store,
            space=space,
            id=uuid.uuid4().hex,
            num_trials=num_trials or space.num_trials,
            data=str(data.absolute()) if data else None,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            study_storage=study_storage,
            max_concurrent=max_concurrent,
            launched=LaunchedSpace.of(space, text),
        )
        try:
            make_private(store.root)
            with sweep.store.whole_folder(sweep.folder, last="sweep.json") as folder:
                sweep = replace(sweep, location=sweep._location(folder))
                (folder / "space.yaml").write_text(text, encoding="utf-8")
                if study_storage is None:
                    (folder / sweep.journal.name).touch()  # there to be locked
                write_json(folder / "sweep.json", sweep._meta)
                if warm_start:
                    trials = [observation.to_json() for observation in warm_start]
                    write_json(folder / WARM_START, {"format": FORMAT, "sweep_id": sweep.id, "trials": trials})
                origin = provenance(source=source, dataset=space.dataset.name)
                write_json(folder / "provenance.json", {**origin, "sweep_id": sweep.id})
        except OSError as error:
            raise UserError(f"cannot write {sweep.place}: {error}; choose another --home") from error
        return sweep

    @classmethod
    def open(cls, name: str, *, home: Path | SweepStore) -> SweepFolder:
        """Return the sweep of that name.

        Args:
            name: of the sweep.
            home: see `home`.

        Raises:
            UserError: there is none, or it was written by a release that this one does not read.
        """
        check_name(name)
        store = SweepStore.of(home)
        folder = store.root / name
        store.pull(folder)
        try:
            meta = read_json(folder / "sweep.json", SweepMeta, remedy=_PUT_BACK, formats=_READABLE)
        except FileNotFoundError as error:
            existing = names(home)
            if name in existing:
                raise UserError(f"{folder / 'sweep.json'} is missing: {_PUT_BACK}") from error
            there = ", ".join(existing) or "none"
            raise UserError(f"no sweep named {name!r} in {store} (there: {there}); see --home") from error
        if not (folder / "space.yaml").exists():
            raise UserError(f"{folder / 'space.yaml'} is missing: {_PUT_BACK}")
        text, _ = text_of(str(folder / "space.yaml"))
        space, edited_keys = _read_space(text, folder / "space.yaml", meta.space)
        return cls(
            folder=folder,
            store=store,
            space=space,
            id=meta.id,
            num_trials=meta.num_trials,
            data=meta.data,
            created=meta.created,
            study_storage=meta.study_storage,
            max_concurrent=meta.max_concurrent,
            launched=meta.space,
            location=meta.location,
            edited_keys=edited_keys,
        )

    def extended(self, num_trials: int | None = None, max_concurrent: int | None = None) -> SweepFolder:
        """Return this sweep with other numbers of trials and of concurrent runs, and save them; None keeps a number.

        The caller holds the sweep's lock. What is saved has the newest format, and says where the sweep lies now, and
        which space it goes on with: it may differ from the launched one in what changes no run.

        Raises:
            UserError: see `check_space`.
        """
        self.check_space()
        sweep = replace(
            self,
            num_trials=num_trials or self.num_trials,
            max_concurrent=max_concurrent or self.max_concurrent,
            launched=LaunchedSpace.of(self.space, (self.folder / "space.yaml").read_text()),
            location=self._location(self.folder),
        )
        if sweep != self:
            self.store.write_json(self.folder / "sweep.json", sweep._meta)
        return sweep

    def write_copy(self, name: str, folder: Path) -> SweepFolder:
        """Return a sweep with an id of its own that goes on where this one stands, and write its ``sweep.json``.

        Args:
            name: of the new sweep.
            folder: where it is written: the folder that becomes the new sweep's.
        """
        launched = self.launched or LaunchedSpace.of(self.space, (self.folder / "space.yaml").read_text())
        now = datetime.now(UTC).isoformat(timespec="seconds")
        place = self.folder.with_name(name)
        copy = replace(self, folder=place, id=uuid.uuid4().hex, created=now, launched=launched)
        copy = replace(copy, location=copy._location(folder))
        write_json(folder / "sweep.json", copy._meta)
        return copy

    def check_space(self) -> None:
        """Check that ``space.yaml`` is still the space that the sweep was launched with.

        Raises:
            UserError: it was edited; the message names the keys.
        """
        if not self.edited_keys:
            return
        hint = f" `tuner resume {self.name} --trials N` changes the number of trials."
        raise UserError(
            f"{self.folder / 'space.yaml'} was edited after the launch ({', '.join(self.edited_keys)}): runs of two "
            f"experiments do not go into one table.{hint if 'budget.trials' in self.edited_keys else ''} Put the file "
            f"back, or launch the edited one as a sweep of its own: `tuner launch NEW.yaml --warm-start {self.name}`"
        )

    def taken_over_keys(self) -> list[str]:
        """Return the dotted keys in which ``space.yaml`` was edited and which the next driver takes over."""
        return changeable_keys(self.launched.content, content_of(self.space)) if self.launched else []

    def brought_from(self) -> Location | None:
        """Return where the sweep was last driven if that was on another machine, in another folder; else None."""
        return self.location if self._location(self.folder).came_from(self.location) else None

    def _location(self, folder: Path) -> Location:
        """Return where the sweep lies, or will lie once a folder has been renamed to its own."""
        return replace(Location.of(self.store, folder), place=self.place)

    @property
    def _meta(self) -> dict[str, Any]:
        """The content of ``sweep.json``."""
        assert self.launched is not None  # noqa: S101 - whoever writes sets both
        assert self.location is not None  # noqa: S101
        database = {"study_storage": self.study_storage} if self.study_storage else {}
        return {
            "format": SWEEP_FORMAT,
            "release": versions().get("adversarial-tuner", "unknown"),
            "id": self.id,
            "num_trials": self.num_trials,
            "data": self.data,
            **database,
            "created": self.created,
            "max_concurrent": self.max_concurrent,
            "space": self.launched.to_json(),
            "location": asdict(self.location),
        }

    def last_checkpoint(self, record: Record) -> RunCheckpoint:
        """Return the checkpoint of a run's last report; if the sweep is in an object store, it is fetched first.

        Raises:
            OSError: it cannot be fetched.
        """
        from trainables.storage.checkpoint import RunCheckpoint

        run = record.run
        folder = run.folder / "checkpoint"
        self.store.fetch_folder(folder)
        is_of_older_release = names_its_run(run.folder) is False
        return RunCheckpoint(
            folder, int(record.metrics["step"]), run.identity, accepts_format_1=is_of_older_release, remedy=run.remedy
        )

    @contextlib.contextmanager
    def lock(self) -> Iterator[StudyLock | None]:
        """Hold the sweep's lock, which only one driver can hold.

        Yields:
            The lock of the study's database, which `Ledger` needs to write the study; None if a file holds the study.

        Raises:
            UserError: another driver holds it; the message names the process. Or the folder is a copy of another sweep,
                or is not there any more.
        """
        with self.held() as study_lock:
            self.check_place()
            owner = {"format": FORMAT, "sweep_id": self.id, "pid": os.getpid(), "host": socket.gethostname()}
            self.store.write_json(self.folder / OWNER, owner)
            yield study_lock

    @contextlib.contextmanager
    def held(self) -> Iterator[StudyLock | None]:
        """Keep drivers away from the sweep, without being one: see `lock`."""
        if not (self.folder / "sweep.json").exists():
            raise UserError(f"{self.folder} is not there any more: `tuner status` lists the sweeps of a home")
        try:
            with (
                FileLock(self.folder / _LOCK, timeout=_LOCK_WAIT_S),  # drivers of earlier releases lock it alone
                self.lock_study() as study_lock,
                self.store.held(self.folder),
            ):
                yield study_lock
        except IsADirectoryError as error:
            raise UserError(f"{error.filename} is a folder: {_PUT_BACK}") from error
        except Timeout as error:
            holder = read_owner(self.folder, self.id)
            who = f"process {holder.pid} on {holder.host}" if holder else "process ? on ?"
            raise UserError(f"sweep {self.name!r} is being run by {who}") from error

    def check_place(self) -> None:
        """Check that the folder is not a copy of another one: see `tuner.sweep.identity.refuse_copy`."""
        refuse_copy(self.store, self.folder, self.id, self.location)

    def lock_study(self) -> contextlib.AbstractContextManager[StudyLock | None]:
        """Return the lock of what holds the study: its database, which drivers on other hosts share, or its file."""
        if self.study_storage is None:
            return locked(self.journal, _LOCK_WAIT_S)
        from tuner.storage.postgres_lock import StudyLock

        return contextlib.closing(StudyLock(self.study_storage, self.id))

    def is_running(self) -> bool:
        """Return whether a driver is at work on this sweep; leaves no file behind, and disturbs no driver.

        Raises:
            UserError: the database that holds the study cannot be reached.
        """
        if self.study_storage is not None:
            from tuner.storage.postgres_lock import holder

            return holder(self.study_storage, self.id) is not None
        return is_locked(self.journal) or is_locked(self.folder / _LOCK)


def _read_space(text: str, path: Path, launched: LaunchedSpace | None) -> tuple[Space, tuple[str, ...]]:
    """Return the space of a sweep, and in which keys its file was edited though they must not change.

    Args:
        text: of the file.
        path: of the file.
        launched: the space that the sweep was launched with, if it is known.
    """
    space = parse_space(text, str(path))
    changed = changed_keys(launched.content, content_of(space)) if launched else []
    if not changed or launched is None:
        return space, ()
    _warn_once(
        f"{path} was edited after the launch ({', '.join(changed)}): what is shown is of the space that was launched"
    )
    return parse_space(launched.text, str(path)) if launched.text else space, tuple(changed)


@functools.lru_cache(maxsize=1000)
def _warn_once(text: str) -> None:
    _log.warning("%s", text)


def names(home: Path | SweepStore) -> list[str]:
    """Return the names of the sweeps in a home."""
    return SweepStore.of(home).names()


def check_available(name: str, home: Path | SweepStore, study_storage: str | None = None) -> None:
    """Check that a sweep can be created: its name is valid and free, and its home can be written and keep a study.

    Raises:
        UserError: with what to do instead.
    """
    check_name(name)
    store = SweepStore.of(home)
    if study_storage is None and store.url is not None:
        raise UserError(
            f"{store} cannot keep a study, because nothing can be added to a file there: name "
            "a database with --study-storage postgresql+psycopg://USER@HOST/DATABASE"
        )
    store.pull(store.root / name)
    if (store.root / name).exists():
        raise UserError(f"a sweep named {name!r} is in {store} already: `tuner resume {name}` continues it")
    nearest = next(folder for folder in (store.root, *store.root.parents) if folder.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise UserError(f"cannot write into {nearest}: choose another --home, or set TUNER_HOME")


def check_name(name: str) -> None:
    """Check that a name is allowed for a sweep.

    Raises:
        UserError: it is not; the message says which names are.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"a sweep's name must be 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit, got {name!r}"
        )
