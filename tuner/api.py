"""The Python API: ``from tuner import Sweep``. What the command line does, by the same code.

sweep = Sweep.launch("digits", trials=8)
sweep.trials().sort_values("robust")
sweep.export()
"""

from __future__ import annotations

import builtins
import contextlib
import logging
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from trainables.common.process_state import loggers_kept
from tuner.cluster.local_ray import check_authentication
from tuner.errors import SweepError
from tuner.execution.launch import LaunchOptions, SpaceContent, gpu_use, new_sweep, prepare_resume, start_detached
from tuner.results.terminal.output import say
from tuner.sweep import control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home as home_folder
from tuner.sweep.homes import local_path, names
from tuner.sweep.ranking import front
from tuner.sweep.runs import Record, Tier
from tuner.sweep.snapshot import Snapshot, read_snapshot
from tuner.sweep.status import SweepStatus, describe_runs, status_of, summarize

if TYPE_CHECKING:
    import pandas as pd

    from trainables.networks.bundle import Network
    from tuner.execution.driver import Ending
    from tuner.sweep.confirmation import Confirmation


class Sweep:
    """A sweep of a home, by its folder; each call reads the folder anew, so another process may drive it meanwhile.

    Every method raises `tuner.UserError` for what the caller can put right, and `tuner.SweepError` if the sweep's
    storage cannot be written or its driver gives up; the message says what to do. `open` and `launch` return one.

    `launch`, `resume` and `confirm` drive it in this process. Ctrl-C, or a notebook's interrupt, first saves what was
    reported and then raises ``KeyboardInterrupt``; SIGTERM raises ``SystemExit`` likewise. `stop` ends them normally.

    Attributes:
        ending: how the last drive in this process ended: completed, stopped on request, interrupted by a signal, or
            given up because of a failure; None before the first.
    """

    def __init__(self, folder: SweepFolder, *, quiet: bool = True) -> None:
        self._sweep = folder
        self._console = Console(markup=False, quiet=quiet)
        self.ending: Ending | None = None

    @classmethod
    def launch(  # noqa: PLR0913 (each is an option of the command line)
        cls,
        space: str | Path | SpaceContent,
        *,
        name: str | None = None,
        trials: int | None = None,
        home: Path | str | None = None,
        data: Path | str | None = None,
        warm_start: str | Sequence[str] = (),
        study_storage: str | None = None,
        max_concurrent: int | None = None,
        gpus: int | None = None,
        device: str | None = None,
        detach: bool = False,
        insecure: bool = False,
        quiet: bool = True,
    ) -> Sweep:
        """Start a sweep, and return it when its driver has ended or, if it is detached, at once.

        Args:
            space: a packaged space's name, a file's path, or what such a file holds.
            name: by default the space's, with a number if that is taken.
            trials: instead of the space's number.
            home: folder of all sweeps; by default ``TUNER_HOME``, else ``./sweeps``.
            data: folder of the dataset's files; by default they are fetched.
            warm_start: name or names of earlier sweeps, whose trials the search begins with.
            study_storage: URL of the PostgreSQL database that holds the study; by default a file in its folder does.
            max_concurrent: how many runs may be executed at once; by default its share of the cluster.
            gpus: how many GPUs may be used, 0 for none; by default all, unless the space says otherwise.
            device: ``auto``, ``cpu``, ``cuda`` if it must be a GPU, or one like ``cuda:1``; by default ``auto``.
            detach: drive it in a process of its own, which outlives this one.
            insecure: accept that ``RAY_AUTH_MODE`` lets a Ray on this machine require no token, so that whoever reaches
                it can run code on it.
            quiet: print nothing.

        Raises:
            SpaceError: the space has mistakes; all of them at once.
            DataError: the dataset cannot be fetched or verified.
            UserError: the name is taken, the home cannot be written, or this machine lacks a resource.
            SweepError: the driver has given up; what was reported is saved.
        """
        check_authentication(insecure=insecure)
        console = Console(markup=False, quiet=quiet)
        options = LaunchOptions(
            name=name,
            trials=trials,
            data=None if data is None else Path(data),
            warm_start=_names(warm_start),
            study_storage=study_storage,
            max_concurrent=max_concurrent,
            gpus=gpus,
            device=device,
        )
        return cls(new_sweep(space, home_folder(home), console, options), quiet=quiet)._drive(detach, insecure)

    @classmethod
    def open(cls, name: str, *, home: Path | str | None = None, quiet: bool = True) -> Sweep:
        """Return the sweep of that name.

        Args:
            name: what it is called.
            home: folder of all sweeps; by default ``TUNER_HOME``, else ``./sweeps``.
            quiet: print nothing when it is driven.

        Raises:
            UserError: there is none.
        """
        return cls(SweepFolder.open(name, home=home_folder(home)), quiet=quiet)

    @staticmethod
    def list(home: Path | str | None = None) -> builtins.list[str]:
        """Return the names of all sweeps of a home, sorted.

        Args:
            home: folder of all sweeps; by default ``TUNER_HOME``, else ``./sweeps``.
        """
        return sorted(names(home_folder(home)))

    def __repr__(self) -> str:
        """Return its name, state, counts and best trial in a line."""
        snapshot = read_snapshot(self._sweep)
        best = snapshot.best
        said = f"best {best.run.key}: {snapshot.space.objective.metric} {best.value:.3f}" if best else "no best trial"
        return f"<Sweep {self.name!r}: {snapshot.state}, {describe_runs(summarize(snapshot))}, {said}>"

    def _repr_html_(self) -> str:
        """Return its table as a notebook shows it."""
        from tuner.results.terminal.html import snapshot_html

        return snapshot_html(read_snapshot(self._sweep))

    def resume(
        self,
        *,
        trials: int | None = None,
        max_concurrent: int | None = None,
        gpus: int | None = None,
        device: str | None = None,
        accept_code_change: bool = False,
        repair: bool = False,
        detach: bool = False,
        insecure: bool = False,
    ) -> Sweep:
        """Continue a sweep that has ended early or is to have more trials; end the pause of its driver if it is paused.

        Args:
            trials: extend it to this many.
            max_concurrent: how many runs may be executed at once from now on.
            gpus: see `launch`; from now on.
            device: likewise.
            accept_code_change: go on although the code that trains differs from that of its runs; it is recorded.
            repair: first train runs again whose metrics or last checkpoint is damaged.
            detach: see `launch`.
            insecure: likewise.

        Raises:
            UserError: it has more trials already, its space was edited, the code that trains differs, or a driver is at
                work on it.
            SweepError: a run could not be repaired, or the driver has given up.
        """
        check_authentication(insecure=insecure)
        use = gpu_use(gpus, device)
        changes_nothing = trials is None and max_concurrent is None and use is None and not repair
        if changes_nothing and control.end_pause(self._sweep):
            return self
        self._sweep = prepare_resume(
            self._sweep,
            self._console,
            trials=trials,
            max_concurrent=max_concurrent,
            gpus=use,
            accept_code_change=accept_code_change,
        )
        return self._drive(detach, insecure, repair=repair)

    def confirm(
        self,
        *,
        top: int | None = None,
        seeds: int | None = None,
        baselines: str | Sequence[str] | None = None,
        tier: Tier = "rank",
        images: int | None = None,
        device: str | None = None,
        accept_code_change: bool = False,
        insecure: bool = False,
    ) -> Confirmation | None:
        """Run its best configurations and its baselines again with fresh seeds, and compare them on test images.

        Args:
            top: how many configurations; by default the space's number.
            seeds: how many seeds for each; likewise.
            baselines: name or names of the sweep's baselines; by default all.
            tier: of attacks that the test images are put under.
            images: only so many, from the first on; by default all.
            device: see `launch`; by default as the sweep's runs.
            accept_code_change: see `resume`.
            insecure: see `launch`.

        Returns:
            What ``confirm.json`` holds; None if it was stopped on request: the next call continues.
        """
        with _without_advice():
            from tuner.execution.confirm import ConfirmOptions, confirm
        from tuner.sweep.confirmation import read_confirmation

        options = ConfirmOptions(
            top=top,
            num_seeds=seeds,
            baselines=None if baselines is None else _names(baselines),
            tier=tier,
            num_images=images,
            device=device,
        )
        ending = confirm(self._sweep, self._console, options, accept_code_change=accept_code_change, insecure=insecure)
        self._end(ending, "confirm()")
        return read_confirmation(self._sweep) if ending.completed else None

    def _drive(self, detach: bool, insecure: bool, *, repair: bool = False) -> Sweep:
        if detach:
            start_detached(self._sweep, repair=repair, insecure=insecure)
            return self
        with _without_advice():
            from tuner.execution.search import search

        self._end(search(self._sweep, self._console, repair=repair, insecure=insecure), "resume()")
        return self

    def _end(self, ending: Ending, method: str) -> None:
        """Keep how a drive has ended, and raise what a script must not go on after."""
        self.ending = ending
        store = self._sweep.store
        place = store.location(store.root)
        how_to_go_on = f"`Sweep.open({self.name!r}, home={place!r}).{method}` goes on where it stands"
        if not ending.mirrored:
            say(self._console, f"MLflow is not up to date: `tuner sync {self.name}` brings it there", "yellow")
        if ending.stopped:
            say(self._console, f"Stopped on request; {how_to_go_on}")
        if ending.signal == signal.SIGINT:
            raise KeyboardInterrupt(f"{self.name} is interrupted: {how_to_go_on}")
        if ending.signal is not None:
            raise SystemExit(128 + ending.signal)
        if ending.failure:
            raise SweepError(f"{ending.failure}; put that right, then {how_to_go_on}")

    @property
    def name(self) -> str:
        """Its name, unique in its home."""
        return self._sweep.name

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self._sweep.folder

    def _read(self) -> Snapshot:
        """Return what its folder says; raise a UserError that names every file that is damaged."""
        snapshot = read_snapshot(self._sweep)
        snapshot.require_whole()
        return snapshot

    def trials(self) -> pd.DataFrame:
        """Return one row per run, trials before baselines; the objective and what varied are the first columns.

        See `tuner.results.frames.runs_frame` for what is in them.
        """
        from tuner.results.frames import trials_frame

        snapshot = self._read()
        return trials_frame(snapshot.records, snapshot.space)

    def curves(self) -> pd.DataFrame:
        """Return one row per report of every run: ``run``, ``step``, ``compute``, and the metrics of that moment."""
        from tuner.results.frames import curves_frame

        snapshot = read_snapshot(self._sweep, with_rows=True)
        snapshot.require_whole()
        return curves_frame(snapshot.rows)

    def compare(self) -> builtins.list[str]:
        """Return what `tuner compare` says below its table: leads over the baselines, and how sure they are."""
        from tuner.results.compare import comparison_sentences
        from tuner.results.terminal.confirmation import confirmation_sentences

        snapshot = self._read()
        confirmation = snapshot.confirmation
        return [*comparison_sentences(snapshot), *(confirmation_sentences(confirmation) if confirmation else ())]

    @property
    def best_params(self) -> dict[str, object]:
        """The settings of the best trial that varied, by dotted name; empty if there is no best trial."""
        snapshot = self._read()
        if snapshot.best is None:
            return {}
        found: dict[str, object] = {}
        for parameter in snapshot.space.parameters:
            value: object = snapshot.best.run.settings if parameter.varies else None
            for key in parameter.setting:
                value = value.get(key) if isinstance(value, dict) else None
            if parameter.varies and value is not None:
                found[".".join(parameter.setting)] = value
        return found

    def load(self, run: str | int | None = None) -> Network:
        """Return the trained classifier of a run in evaluation mode: images in [0, 1] to logits.

        Args:
            run: its key, see `export`; by default that of the best trial.

        Raises:
            UserError: there is no such run, or its checkpoint is damaged.
        """
        from trainables.config import parse
        from trainables.networks.bundle import read_checkpoint
        from tuner.results.selection import choose_run

        record = choose_run(self._read(), _key(run))
        self._sweep.provide_code()
        return read_checkpoint(parse(record.run.settings), self._sweep.last_checkpoint(record)).eval()

    @property
    def best(self) -> Record | None:
        """The best trial of the first objective among those that ran to the end and keep the constraints."""
        return self._read().best

    @property
    def front(self) -> builtins.list[Record]:
        """The Pareto front of the objectives, best first by the first one; of a single objective, the best trials."""
        snapshot = self._read()
        return front(snapshot.records, snapshot.space.objectives)

    def status(self) -> SweepStatus:
        """Return its state, counts, best trial, cost and time left."""
        return status_of(read_snapshot(self._sweep, with_rows=True))

    def export(self, run: str | int | None = None, *, output: Path | str | None = None, as_space: bool = False) -> Path:
        """Write a run as a folder that stands alone, and return that folder.

        Args:
            run: its key or number (``trial-0003``, 3, ``fgsm_retraining``); by default that of the best trial.
            output: the folder to make; by default ``exports/<sweep>-<run>`` right here.
            as_space: also write ``space.yaml``, the sweep's space, whose search begins with this run.

        Raises:
            UserError: there is no such run, or the folder is there already or cannot be written.
        """
        from tuner.results.bundles.export import export_run

        return export_run(read_snapshot(self._sweep), _output(output), _key(run), as_space=as_space)

    def export_top(
        self, number: int, *, output: Path | str | None = None, as_space: bool = False
    ) -> builtins.list[Path]:
        """Write the best trials of different configurations, each as a folder, and return the folders, the best first.

        Args:
            number: how many at most.
            output: the folder that gets a folder for each; by default ``exports`` right here.
            as_space: see `export`.

        Raises:
            UserError: no trial has ended as it should, or a folder is there already or cannot be written.
        """
        from tuner.results.bundles.export import export_several
        from tuner.results.selection import choose_top

        snapshot = read_snapshot(self._sweep)
        return export_several(snapshot, choose_top(snapshot, number), _output(output), as_space=as_space)

    def report(self, output: Path | str | None = None, *, images: bool = True) -> Path:
        """Write a report that explains it, one HTML file that needs no network, and return its path.

        Args:
            output: by default ``reports/<name>.html`` right here; an older report there is replaced.
            images: attack images with the best classifier and the baselines, which takes seconds for each.

        Raises:
            UserError: something else is in that place, or it cannot be written.
        """
        from tuner.results.report.page import write_report

        snapshot = read_snapshot(self._sweep, with_rows=True, with_evaluations=True)
        return write_report(snapshot, _output(output), with_images=images)

    def copy(self, name: str) -> Sweep:
        """Copy it, with everything it holds, to a sweep of its own in the same home, and return that one.

        Args:
            name: of the copy.

        Raises:
            UserError: the name is taken, a driver is at work on the sweep, or it cannot be read or written.
        """
        from tuner.execution.upkeep.copying import copy_sweep

        return Sweep(copy_sweep(self._sweep, name), quiet=self._console.quiet)

    def stop(self) -> None:
        """Ask its driver to end as soon as each run has reported."""
        control.ask_driver(self._sweep, "stop")

    def pause(self) -> None:
        """Ask its driver to release its processors as soon as each run has reported, and to wait for `resume`."""
        control.ask_driver(self._sweep, "pause")

    def watch(self) -> SweepStatus:
        """Show it until its driver ends, and return its status then."""
        from tuner.results.terminal.live import watch_sweep

        watch_sweep(self._sweep, Console(markup=False))
        return self.status()


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Keep Ray, when it is imported, from advising a notebook to install ipywidgets: nothing here needs them."""
    logger = logging.getLogger("ray.widgets.util")
    with loggers_kept([logger.name]):
        logger.setLevel(logging.WARNING)
        yield


def _names(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names


def _key(run: str | int | None) -> str | None:
    return None if run is None else str(run)


def _output(path: Path | str | None) -> Path | None:
    return None if path is None else local_path(path)
