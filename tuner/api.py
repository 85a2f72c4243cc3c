"""The Python API: ``from tuner import Sweep``. What the command line does, by the same code.

sweep = Sweep.launch("digits", trials=8)
sweep.trials().sort_values("robust_accuracy")
sweep.export()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tuner.errors import UserError
from tuner.execution import launch as starting
from tuner.sweep import control
from tuner.sweep.folder import SweepFolder
from tuner.sweep.folder import home as home_folder
from tuner.sweep.ranking import best, front
from tuner.sweep.reader import read_records
from tuner.sweep.runs import Record, Tier
from tuner.sweep.status import full

if TYPE_CHECKING:
    import pandas as pd

    from tuner.execution.driver import Ending
    from tuner.sweep.confirmation import Confirmation


class Sweep:
    """A sweep, by its folder: whatever is asked of it is read there, so it may be driven elsewhere meanwhile.

    Every method raises `UserError` for what the caller can put right; the message says what to do.
    """

    def __init__(self, folder: SweepFolder, *, quiet: bool = True) -> None:
        self._sweep = folder
        self._console = Console(markup=False, quiet=quiet)
        self.ending: Ending | None = None
        """How the last drive right here ended: completed, stopped on request, cut short by a signal, or given up."""

    @classmethod
    def launch(
        cls,
        space: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        trials: int | None = None,
        home: Path | str | None = None,
        data: Path | str | None = None,
        warm_start: Sequence[str] = (),
        study_storage: str | None = None,
        max_concurrent: int | None = None,
        detach: bool = False,
        quiet: bool = True,
    ) -> Sweep:
        """Start a sweep and return it when its driver has ended, or at once.

        Args:
            space: a packaged space's name, a file's path, or what such a file holds.
            name: by default the space's, with a number if that is taken.
            trials: instead of the space's number.
            home: folder of all sweeps; by default ``TUNER_HOME``, else ``./sweeps``.
            data: folder of the dataset's files; by default they are fetched.
            warm_start: names of earlier sweeps, whose trials the search begins with.
            study_storage: URL of the PostgreSQL database that holds the study; by default a file in its folder does.
            max_concurrent: how many runs may be at work at once; by default its share of the cluster.
            detach: drive it in a process of its own, which outlives this one.
            quiet: print nothing.

        Raises:
            SpaceError: the space has mistakes; all of them at once.
            UserError: the name, the home or the resources are not to be had.
            DataError: the dataset is not to be had.
        """
        console = Console(markup=False, quiet=quiet)
        where = home_folder(home)
        options: dict[str, Any] = {"name": name, "trials": trials, "data": _path(data), "warm_start": warm_start}
        options |= {"study_storage": study_storage, "max_concurrent": max_concurrent}
        new = starting.new_sweep(space, where, console, **options)
        return cls(new, quiet=quiet)._drive(detach)

    @classmethod
    def open(cls, name: str, *, home: Path | str | None = None, quiet: bool = True) -> Sweep:
        """Return the sweep of that name."""
        return cls(SweepFolder.open(name, home=home_folder(home)), quiet=quiet)

    def resume(self, *, trials: int | None = None, max_concurrent: int | None = None, detach: bool = False) -> Sweep:
        """Go on where it stands, perhaps to more trials; end the pause of its driver if that is what it is in."""
        if trials is None and max_concurrent is None and control.end_pause(self._sweep):
            return self
        self._sweep = starting.ready_again(self._sweep, self._console, trials=trials, max_concurrent=max_concurrent)
        return self._drive(detach)

    def confirm(
        self,
        *,
        top: int | None = None,
        seeds: int | None = None,
        baselines: Sequence[str] | None = None,
        tier: Tier = "rank",
        images: int | None = None,
    ) -> Confirmation | None:
        """Run its best configurations and its baselines again with fresh seeds, and compare them on test images.

        Args:
            top: how many configurations; by default the space's number.
            seeds: how many seeds for each; likewise.
            baselines: names of the sweep's baselines; by default all.
            tier: by which attacks the test images are judged.
            images: only the first test images.

        Returns:
            What ``confirm.json`` holds; None if it was cut short: called again, it goes on.
        """
        from tuner.execution.confirm import ConfirmOptions, confirm
        from tuner.sweep.confirmation import read_confirmation

        options = ConfirmOptions(top=top, num_seeds=seeds, baselines=baselines, tier=tier, num_images=images)
        self.ending = confirm(self._sweep, self._console, options)
        return read_confirmation(self._sweep) if self.ending.completed else None

    def _drive(self, detach: bool) -> Sweep:
        if detach:
            starting.detach(self._sweep)
            return self
        from tuner.execution.search import search

        self.ending = search(self._sweep, self._console)
        return self

    @property
    def name(self) -> str:
        """What it is called."""
        return self._sweep.name

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._sweep.folder

    def trials(self) -> pd.DataFrame:
        """Return one row per run, baselines included: see `tuner.results.frames.frame` for the columns."""
        from tuner.results.frames import frame

        return frame(read_records(self._sweep))

    @property
    def best(self) -> Record | None:
        """The best trial of the first objective among those that ran to the end and keep the constraints."""
        return best(read_records(self._sweep), self._sweep.space.objective.mode)

    @property
    def front(self) -> list[Record]:
        """The Pareto front of the objectives, best first by the first one; of a single objective, the best trials."""
        return front(read_records(self._sweep), self._sweep.space.objectives)

    def status(self) -> dict[str, Any]:
        """Return its state, counts, best trial, cost and time left: see `tuner.sweep.status.full`."""
        return full(self._sweep, read_records(self._sweep))

    def export(self, run: str | None = None, *, output: Path | str | None = None) -> Path:
        """Write a run, by default the best trial, as a folder that stands alone, and return that folder."""
        from tuner.results.export import export

        return export(self._sweep, _path(output), run)

    def stop(self) -> None:
        """Ask its driver to end once each run has reported."""
        control.ask_driver(self._sweep, "stop")

    def pause(self) -> None:
        """Ask its driver to give its processors free once each run has reported, and to wait for `resume`."""
        control.ask_driver(self._sweep, "pause")

    def watch(self) -> dict[str, Any]:
        """Show it until its driver ends, and return its status then."""
        from tuner.results.live import watch

        watch(self._sweep, Console(markup=False))
        return self.status()


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)


__all__ = ["Sweep", "UserError"]
