"""A sweep is a folder: its search space, its target, and the results of its runs.

``space.yaml`` (the file as it was given), ``sweep.json`` (identity and target), ``provenance.json``, ``study.journal``
(the ledger, unless a database holds it), ``code/`` (files of a user's own, and wheels of packages), and for every run
``trials/0007/`` or ``baselines/standard/`` with ``metrics.jsonl`` and ``checkpoint/``.

The format in ``sweep.json`` is that of the whole folder. Every other JSON file and every checkpoint says its own, too.
Format 3 has the space that the sweep was launched with, and where its folder lies, see `tuner.sweep.identity`. Formats
1 and 2 (with the ledger in a database) are of earlier releases; the next driver makes 3 of them.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search_spaces.configurations import parse_space
from search_spaces.library import text_of
from search_spaces.schema import Space
from trainables.config import parse
from trainables.config.plugins import trust
from trainables.config.plugins.packages import check_packages
from trainables.config.plugins.user_code import CODE, digest_of, provide, read_source
from trainables.config.plugins.wheels import provide_kept
from trainables.storage.atomic import make_private, reason_of, write_json
from trainables.storage.checked_json import read_json
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.storage.driver_lock import JOURNAL, SweepLock
from tuner.storage.metrics_file import names_its_run
from tuner.storage.observations import Observation
from tuner.sweep.homes import check_available, check_name, names
from tuner.sweep.identity import (
    GpuUse,
    LaunchedSpace,
    Location,
    SweepMeta,
    changeable_keys,
    content_of,
    read_space,
    refuse_copy,
)
from tuner.sweep.provenance import Provenance, provenance, read_provenance, versions

if TYPE_CHECKING:
    from trainables.storage.checkpoint import RunCheckpoint
    from tuner.storage.postgres_lock import StudyLock
    from tuner.sweep.runs import Record, Run

FORMAT = 1
"""Of the JSON files in a sweep's folder other than ``sweep.json``."""
SWEEP_FORMAT = 3
_READABLE = (1, 2, SWEEP_FORMAT)
WARM_START = "warm_start.json"
_PUT_BACK = "put a copy of it in its place; nothing was changed"


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
    gpus: GpuUse = field(default_factory=GpuUse)
    """How its runs are to use GPUs."""
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
        return self.folder / JOURNAL

    @property
    def study_place(self) -> str:
        """Where the study is, for messages: a file, or the URL of a database without its options."""
        return self.study_storage.partition("?")[0] if self.study_storage else str(self.journal)

    @classmethod
    def create(  # noqa: PLR0913 - all that a sweep is made of
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
        gpus: GpuUse | None = None,
        code: Mapping[str, bytes] | None = None,
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
            gpus: how runs are to use GPUs; by default as the space says.
            code: the files of code of a user's own, by their names.

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
            gpus=gpus or GpuUse(),
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
                for file, content in (code or {}).items():
                    (folder / CODE).mkdir(exist_ok=True)
                    (folder / CODE / file).write_bytes(content)
                origin = provenance(source=source, dataset=space.dataset, user_code=space.code)
                write_json(folder / "provenance.json", {**origin, "sweep_id": sweep.id})
        except OSError as error:
            raise UserError(f"cannot write {sweep.place}: {reason_of(error)}; choose another --home") from error
        return sweep

    @classmethod
    def open(cls, name: str, *, home: Path | SweepStore) -> SweepFolder:
        """Return the sweep of that name.

        Args:
            name: of the sweep.
            home: see `home`.

        Raises:
            UserError: there is none, it was written by a release that this one does not read, or it needs a package
                that is not installed here and whose code in the sweep's folder may not run.
        """
        folder, store, meta = cls._find(name, home)
        if not (folder / "space.yaml").exists():
            raise UserError(f"{folder / 'space.yaml'} is missing: {_PUT_BACK}")
        if meta.space:
            provide_kept(meta.space.code, folder, store.fetch)
        text, _ = text_of(str(folder / "space.yaml"))
        space, edited_keys = read_space(text, folder / "space.yaml", meta.space)
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
            gpus=meta.gpus,
            launched=meta.space,
            location=meta.location,
            edited_keys=edited_keys,
        )

    @classmethod
    def read_needed_code(cls, name: str, *, home: Path | SweepStore) -> tuple[Path, dict[str, str]]:
        """Return the folder of a sweep, and the code of others that its runs need, without running any of it.

        Args:
            name: of the sweep.
            home: see `home`.

        Returns:
            The folder, and the SHA-256 of each file, module and package by their names.

        Raises:
            UserError: see `open`.
        """
        folder, _, meta = cls._find(name, home)
        return folder, meta.space.code if meta.space else dict(cls.open(name, home=home).space.code)

    @staticmethod
    def _find(name: str, home: Path | SweepStore) -> tuple[Path, SweepStore, SweepMeta]:
        """Return the folder of a sweep, the store that it is in, and the content of its ``sweep.json``."""
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
        return folder, store, meta

    def extended(
        self, num_trials: int | None = None, max_concurrent: int | None = None, gpus: GpuUse | None = None
    ) -> SweepFolder:
        """Return this sweep with other numbers of trials and of concurrent runs, and save them; None keeps a number.

        So it is with how runs use GPUs.

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
            gpus=gpus or self.gpus,
            launched=self._space_now(),
            location=self._location(self.folder),
        )
        if self.launched is None:
            self._name_in_provenance()
        if sweep != self:
            self.store.write_json(self.folder / "sweep.json", sweep._meta)
        return sweep

    def _name_in_provenance(self) -> None:
        """Add to the provenance of an earlier release to which sweep it belongs."""
        path = self.folder / "provenance.json"
        with contextlib.suppress(FileNotFoundError):
            content = read_json(path, dict[str, Any], remedy=_PUT_BACK, sweep_id=self.id)
            if "sweep_id" not in content:
                self.store.write_json(path, {**content, "sweep_id": self.id})

    def read_provenance(self) -> Provenance:
        """Return where the results of the sweep come from, see `tuner.sweep.provenance.read_provenance`."""
        return read_provenance(self.folder, self.id, names_sweep=self.launched is not None)

    def read_code(self) -> dict[str, bytes]:
        """Return the files of code of a user's own that the sweep's runs need, by their names.

        Raises:
            UserError: a file is missing or was changed.
        """
        files = {}
        for name, digest in self.space.code.items():
            if name.endswith(".py"):
                self.store.fetch(self.folder / CODE / name)
                files[name] = read_source(self.folder / CODE / name)
                if digest_of(files[name]) != digest:
                    raise UserError(f"{self.folder / CODE / name} was changed after the launch: put it back")
        return files

    def provide_code(self) -> None:
        """Let this process run the code that the sweep's runs need.

        Raises:
            UserError: the user has not let it run here, an installed package is another one, or see `read_code`.
        """
        trust.check(self.space.code, self.name)
        check_packages(self.space.code)
        for source in self.read_code().values():
            provide(source)

    def write_copy(self, name: str, folder: Path) -> SweepFolder:
        """Return a sweep with an id of its own that goes on where this one stands, and write its ``sweep.json``.

        Args:
            name: of the new sweep.
            folder: where it is written: the folder that becomes the new sweep's.
        """
        launched = self.launched or self._space_now()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        place = self.folder.with_name(name)
        copy = replace(self, folder=place, id=uuid.uuid4().hex, created=now, launched=launched)
        copy = replace(copy, location=copy._location(folder))
        write_json(folder / "sweep.json", copy._meta)
        return copy

    @property
    def launched_text(self) -> str:
        """Text of the space that the sweep was launched with; of an older sweep, which did not keep it, that of now."""
        launched = self.launched or self._space_now()
        return launched.text or str(self._space_now().text)

    def _space_now(self) -> LaunchedSpace:
        return LaunchedSpace.of(self.space, (self.folder / "space.yaml").read_text(encoding="utf-8"))

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
            **({} if self.gpus == GpuUse() else {"gpus": asdict(self.gpus)}),
            "space": self.launched.to_json(),
            "location": asdict(self.location),
        }

    def last_checkpoint(self, record: Record) -> RunCheckpoint:
        """Return the checkpoint of a run's last report; if the sweep is in an object store, it is fetched first.

        Raises:
            OSError: it cannot be fetched.
            UserError: no run can have the settings that the study has of this one.
        """
        self.store.fetch_folder(record.run.folder / "checkpoint")
        return self.stored_checkpoint(record)

    def stored_checkpoint(self, record: Record) -> RunCheckpoint:
        """Return what `last_checkpoint` returns, without fetching it."""
        from trainables.storage.checkpoint import RunCheckpoint

        run = record.run
        self._check_settings(run)
        folder = run.folder / "checkpoint"
        is_of_older_release = names_its_run(run.folder) is False
        return RunCheckpoint(
            folder, int(record.metrics["step"]), run.identity, accepts_format_1=is_of_older_release, remedy=run.remedy
        )

    def _check_settings(self, run: Run) -> None:
        """Check settings that an earlier release may have written, without a checksum."""
        try:
            parse(run.settings)
        except ValidationError as error:
            first = error.errors()[0]
            mistake = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise UserError(
                f"{self.study_place} is damaged (no run can have the settings of {run.key}: {mistake}): {_PUT_BACK}"
            ) from error

    @contextlib.contextmanager
    def lock(self, command: str = "resume") -> Iterator[StudyLock | None]:
        """Hold the sweep's lock, which only one driver can hold.

        Args:
            command: the subcommand of `tuner` that continues what this driver does.

        Yields:
            The lock of the study's database, which `Ledger` needs to write the study; None if a file holds the study.

        Raises:
            UserError: another driver holds it; the message names the process. Or the folder is a copy of another sweep,
                or is not there any more.
        """
        with self.driver_lock.held() as study_lock:
            self.check_place()
            with self.driver_lock.driven(command):
                yield study_lock

    @property
    def driver_lock(self) -> SweepLock:
        """The sweep's lock, for those who keep drivers away without being one."""
        return SweepLock(self.folder, self.store, self.id, self.study_storage)

    def check_place(self) -> None:
        """Check that the folder is not a copy of another one: see `tuner.sweep.identity.refuse_copy`."""
        refuse_copy(self.store, self.folder, self.id, self.location)

    def is_running(self) -> bool:
        """Return whether a driver is at work on this sweep; leaves no file behind, and disturbs no driver.

        Raises:
            UserError: the database that holds the study cannot be reached.
        """
        return self.driver_lock.is_held()
