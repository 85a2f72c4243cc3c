"""One attempt at a run, in whatever process trains it: from its newest checkpoint, with its log, to its reports.

Checkpoints lie in the run's own folder, so a retry on another worker and a resumed sweep start in the same way.
Whatever goes wrong in training is a result, not an exception: only what breaks the worker itself reaches Ray, and Ray
tries that again.
"""

from __future__ import annotations

import functools
import os
import socket
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.common.redaction import redact
from trainables.config import DatasetConfig, TrainingConfig, parse
from trainables.config.plugins.references import is_weights
from trainables.config.plugins.user_code import CODE, provide
from trainables.data.tensors import Dataset, load_dataset
from trainables.errors import UserError
from trainables.evaluation.earlier_names import rename_reports
from trainables.evaluation.metrics import GPU_SHARE, MEMORY_RETRIES, saturation_warning
from trainables.networks.state_dicts import provide_weights
from trainables.storage import checkpoint
from trainables.storage.atomic import is_storage_trouble
from trainables.storage.folder_guard import FolderGuard
from trainables.storage.shared import verify
from trainables.storage.sweep_store import SweepStore
from trainables.training import registry
from trainables.training.loop import DivergedError, TrainingLoop
from trainables.worker import device
from trainables.worker.context import OUT_OF_MEMORY, RunTask
from trainables.worker.fencing import Attempt, FencedError
from trainables.worker.run_log import RunLog


@functools.lru_cache(maxsize=1)
def _dataset(config: DatasetConfig, folder: str | None, shared: str | None, where: str, share: float) -> Dataset:
    """Return a dataset that stays on its device from one run of this worker to the next."""
    there = Path(folder) if folder else None
    return load_dataset(config, folder=there, shared=shared, device=where, share=share)


class RunWork:
    """The work at one run: what begins it, keeps what it reports, and says what went wrong.

    A result has ``finished`` when the compute is spent, or ``failure`` with ``reason`` when training cannot go on; of
    the kind ``storage`` the run is not to blame, and it can go on from its checkpoint when the disk can be written.

    A checkpoint that is damaged or belongs to another run is moved aside; the run goes on from an older one, or begins
    anew, and its next result has a ``warning`` that says so.

    Subclasses say on which device it trains (``_device``) and how much of a GPU it occupies (``_gpu_share``).
    """

    _device: str
    _gpu_share: float

    @property
    def _memory_share(self) -> float:
        """How much of the GPU's memory this process may take."""
        return self._gpu_share

    def _take(self, task: RunTask) -> None:
        """Take over a run; nothing is loaded until `_start`, so that a failure there is the run's own."""
        self._run = task
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._folder = Path(self._run.folder)
        self._store = SweepStore(self._folder)
        context = self._run.context
        if context.store_url is not None:
            self._store = self._own_copy(context.store_url)
            self._folder = self._store.root / self._folder.relative_to(context.store_root)
        self._attempt = Attempt(self._folder / "checkpoint", self._store)
        self._log = RunLog(self._folder, self._store, self._attempt.is_latest)
        self._loop: TrainingLoop | None = None
        self._replay: dict[str, float] | None = None
        self._unusable: list[str] = []

    def _let_go(self) -> None:
        """Leave the run as it is."""
        self._attempt.end()
        if self._scratch:
            self._scratch.cleanup()

    def _own_copy(self, url: str) -> SweepStore:
        """Return a working copy of all sweeps that no other process uses."""
        self._scratch = tempfile.TemporaryDirectory(prefix="tuner-run-", ignore_cleanup_errors=True)
        return SweepStore(Path(self._scratch.name), url)

    def _result(self, loop: TrainingLoop, metrics: dict[str, float]) -> dict[str, Any]:
        warning, self._unusable = "; ".join(self._unusable), []
        return {"metrics": metrics, "finished": loop.done} | ({"warning": warning} if warning else {})

    def _failed_by(self, error: Exception) -> dict[str, str]:
        """Return the result of a run that an error has ended.

        Raises:
            FencedError: it was that one.
        """
        if isinstance(error, FencedError):
            raise error
        if isinstance(error, DivergedError):
            return self._failed("diverged", str(error))
        if isinstance(error, torch.OutOfMemoryError):
            self._loop = None  # what it holds is in the way of the next run
            torch.cuda.empty_cache()
            return self._failed(OUT_OF_MEMORY, f"{device.memory_advice(self._device, self._memory_share)}\n{error}")
        if is_storage_trouble(error):
            return self._failed("storage", str(error))
        return self._failed("error", "".join(traceback.format_exception(error)))

    def _gpu_metrics(self) -> dict[str, float]:
        share = {GPU_SHARE: self._gpu_share} if self._gpu_share else {}
        return {**share, **({MEMORY_RETRIES: self._run.memory_retries} if self._run.memory_retries else {})}

    def _failed(self, failure: str, reason: str) -> dict[str, str]:
        self._log.note(f"{failure}: {reason}")
        return {"failure": failure, "reason": redact(reason)}

    def _start(self) -> TrainingLoop:
        context = self._run.context
        if context.probe_place is not None:
            verify(context.probe_place, context.probe)
        self._attempt.begin(FolderGuard(Path(context.sweep_folder), context.sweep_id) if context.sweep_folder else None)
        self._log.fetch()
        config = parse(self._run.settings)
        for source in context.code.values():
            provide(source.encode())
        self._provide_weights(config.code)
        who = f"process {os.getpid()} on {socket.gethostname()}, {self._device}, {torch.get_num_threads()} threads"
        if self._gpu_share:
            who += f", {self._gpu_share:g} of a GPU"
        if self._run.memory_retries:
            who += f" (more than before: memory ran out, retry {self._run.memory_retries})"
        self._log.note(f"attempt: {who}")
        device.prepare(self._device, self._memory_share)
        loop = self._build(config)
        state = self._load_checkpoint()
        if state is not None:
            loop.restore(state["loop"])
            self._log.note(f"goes on after report {loop.num_reports}, {loop.meter.compute:.2f} epochs of compute")
            # The driver may have died before it heard of this report; hearing it twice does no harm.
            self._replay = rename_reports([state["metrics"]], config.compute)[0]
        return loop

    def _build(self, config: TrainingConfig) -> TrainingLoop:
        context = self._run.context
        share = self._memory_share or 1.0
        data = _dataset(config.dataset, context.data, context.shared_data, self._device, share)
        return registry.build(config, data)

    def _provide_weights(self, code: Mapping[str, str]) -> None:
        """Let this process start the classifier from a file that the sweep keeps."""
        for name, digest in code.items():
            if not is_weights(name):
                continue
            path = self._sweep_folder / CODE / name
            self._store.fetch(path)
            if provide_weights(path) != digest:
                raise UserError(f"{path} was changed after the launch: put it back")

    @property
    def _sweep_folder(self) -> Path:
        context = self._run.context
        if context.store_url is None:
            return Path(context.sweep_folder)
        return self._store.root / Path(self._run.folder).relative_to(context.store_root).parts[0]

    def _load_checkpoint(self) -> dict[str, Any] | None:
        """Return the newest checkpoint of this run that can be used, and move aside those that cannot."""
        self._store.fetch_folder(self._folder / "checkpoint")
        state = checkpoint.load_newest(
            self._folder / "checkpoint",
            self._run.identity,
            accepts_format_1=self._run.accepts_format_1,
            skip=self._move_aside,
        )
        if self._unusable:
            start = "the beginning" if state is None else f"the older one of report {state['loop']['num_reports']}"
            self._unusable.append(f"it goes on from {start}")
            self._log.note("warning: " + "; ".join(self._unusable))
        return state

    def _move_aside(self, path: Path, reason: str) -> None:
        aside = self._store.move_aside(path)
        self._unusable.append(f"the checkpoint {path} cannot be used and is in {aside.name} now: {reason}")

    def _train(self, loop: TrainingLoop) -> dict[str, float]:
        """Train until the next report, and keep it."""
        return self._keep(loop, loop.step())

    def _keep(self, loop: TrainingLoop, reported: dict[str, float]) -> dict[str, float]:
        """Save the state at a report in a checkpoint, log the report, and return its metrics."""
        metrics = {**reported, **self._gpu_metrics()}
        state = {"loop": loop.state(), "metrics": metrics}
        with self._attempt.writing() as staging:
            checkpoint.save(
                self._folder / "checkpoint",
                loop.num_reports,
                state,
                identity=self._run.identity,
                staging=staging,
                store=self._store,
            )
        if warning := saturation_warning(metrics):
            self._log.note(f"warning: {warning}")
        self._log.note("report " + ", ".join(f"{name} {value:.5g}" for name, value in metrics.items()))
        return metrics
