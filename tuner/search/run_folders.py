"""The folder of a run before the run is trained: what lies there of another run is moved aside, never deleted."""

from __future__ import annotations

from collections.abc import Callable

from tuner.errors import DamagedRunError
from tuner.storage.metrics_file import names_its_run
from tuner.sweep.folder import SweepFolder
from tuner.sweep.runs import Run, read_metrics


def claim_folder(sweep: SweepFolder, run: Run, tell: Callable[[str], None], *, has_started: bool) -> None:
    """See that a run does not go on from what lies in its folder, unless that is its own.

    What is damaged, or belongs to another run or other settings, is moved aside with the whole folder, and the run
    begins anew. So is what does not say of which run it is, unless the study knows that the run has started: then an
    earlier release wrote it.

    Args:
        sweep: the sweep; its lock is held by the caller.
        run: that is about to be trained.
        tell: says to a person what was moved, and why.
        has_started: whether the study says so.
    """
    reason = _reason_to_move(run, has_started)
    if reason and run.folder.exists():
        aside = sweep.store.move_aside(run.folder)
        tell(f"{run.key} begins anew: what lay in its folder is in {aside} now, because {reason}")


def _reason_to_move(run: Run, has_started: bool) -> str:
    """Return why a run cannot go on from what is in its folder; empty if it can."""
    try:
        read_metrics(run)
    except DamagedRunError as error:
        return f"{error.reason}"
    if has_started or names_its_run(run.folder):
        return ""
    return "it does not say of which run it is, and the study knows of none that has started there"
