"""What a driver tells a worker: the run to train, and where the sweep's storage and data are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trainables.storage.run_identity import RunIdentity, settings_digest

OUT_OF_MEMORY = "out of memory"
"""Kind of failure of a run that found no more memory on its GPU."""


PACK_LOST = "its pack has died"
"""What a trial says whose run was in a pack that is no more."""


@dataclass(frozen=True)
class WorkerContext:
    """Where a sweep's storage and data are, the same for all of its runs.

    Attributes:
        data: folder of the dataset's files, None if the worker is to use its cache.
        shared_data: folder or URL, beside the sweeps, from which the worker fills its cache; None if there is none.
        probe_place: folder or URL of the sweep, for `trainables.storage.shared.verify`; None if nothing is to be
            verified.
        probe: name of the driver's probe there.
        store_url: URL of all sweeps in an object store; None if they lie in a file system.
        store_root: folder of the driver's working copy of that store, which the runs' folders are below.
        sweep_folder: of the sweep, which workers never make anew; empty if it is in an object store.
        sweep_id: of the sweep in that folder.
        code: the files of code of a user's own, by their names.
        sweep_place: folder or URL of the sweep, where its wheels of packages are; empty if it has none.
    """

    data: str | None = None
    shared_data: str | None = None
    probe_place: str | None = None
    probe: str = ""
    store_url: str | None = None
    store_root: str = ""
    sweep_folder: str = ""
    sweep_id: str = ""
    code: dict[str, str] = field(default_factory=dict)
    sweep_place: str = ""


@dataclass(frozen=True)
class RunTask:
    """A run that a worker is to train.

    Attributes:
        key: of the run.
        folder: of the run, as the driver sees it.
        settings: of the run's configuration.
        context: where the sweep's storage and data are.
        sweep: id of the sweep.
        accepts_format_1: whether the run may go on from a checkpoint that does not say of which run it is: an earlier
            release began the run.
        gpu: share of a GPU that it occupies.
        memory_retries: how often it was begun again with a larger share because memory ran out.
        pack: name of the actor that trains it in a pack; empty if it is trained in a process of its own.
        is_alone: whether it trains in that pack without others: it had too little memory beside them.
    """

    key: str
    folder: str
    settings: dict[str, Any]
    context: WorkerContext = field(default_factory=WorkerContext)
    sweep: str = ""
    accepts_format_1: bool = False
    gpu: float = 0.0
    memory_retries: int = 0
    pack: str = ""
    is_alone: bool = False

    @property
    def identity(self) -> RunIdentity:
        """What the run's checkpoints say of whose they are."""
        return RunIdentity(self.sweep, self.key, settings_digest(self.settings))

    def to_config(self) -> dict[str, Any]:
        """Return plain data, as Ray Tune takes it for the configuration of a trial."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RunTask:
        """Return the task that `to_config` has made plain data of."""
        return cls(**{**config, "context": WorkerContext(**config["context"])})
