"""A sweep's runs on test images: each verdict is a file in its run's folder, made once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd

from tuner.errors import CheckpointError, UserError
from tuner.process_state import SAFE_PATH, environment
from tuner.results.export import num_threads
from tuner.sweep.evaluations import EVALUATION_FILES, read_evaluation
from tuner.sweep.folder import FORMAT, SweepFolder
from tuner.sweep.runs import Record, Tier
from tuner.sweep.snapshot import Snapshot


def evaluate_runs(
    sweep: SweepFolder,
    records: Sequence[Record],
    *,
    tier: Tier = "final",
    num_images: int | None,
    autoattack: bool = False,
    workers: int | None,
    tell: Callable[[str], object],
) -> None:
    """Evaluate runs that have not been evaluated on these test images.

    Args:
        sweep: whose runs are evaluated; the caller holds its lock.
        records: of complete runs.
        tier: by which attacks.
        num_images: only the first test images.
        autoattack: whether AutoAttack standard is run on the same images; with the strongest attacks only.
        workers: how many runs are evaluated at once; by default as many as there are cores.
        tell: is told what has been done.

    Raises:
        UserError: a worker was killed.
        CheckpointError: a run's checkpoint is gone or damaged.
    """
    left = [record for record in records if not _is_evaluated(record, tier, num_images, autoattack)]
    tell(f"{len(records) - len(left)} of {len(records)} runs are evaluated already")
    threads = num_threads(sweep.space.resources.cpu)
    at_once = workers or max(1, (os.cpu_count() or 1) // threads)
    # Not forked: torch's threads do not survive that.
    context = multiprocessing.get_context("spawn")
    at_once = min(at_once, max(1, len(left)))
    with environment(SAFE_PATH), ProcessPoolExecutor(at_once, mp_context=context, initializer=_end_at_once) as pool:
        options: dict[str, Any] = {"data": Path(sweep.data) if sweep.data else None, "num_images": num_images}
        options |= {"num_threads": threads, "autoattack": autoattack}
        jobs = {pool.submit(_evaluate, sweep, record, tier, options): record for record in left}
        unusable: list[str] = []
        try:
            for job in as_completed(jobs):
                if isinstance(job.exception(), CheckpointError):
                    unusable.append(f"{jobs[job].run.key}: {job.exception()}")
                    continue
                robust, seconds = job.result()
                tell(f"{jobs[job].run.key}: {100 * robust:.1f} % robust on test images, {seconds:.0f} s")
        except BrokenProcessPool as error:
            raise UserError("a worker died, perhaps for want of memory: try again with fewer --workers") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    if unusable:
        raise CheckpointError("\n".join(unusable))


def _end_at_once() -> None:
    """Let Ctrl-C end a worker without a traceback: what it was at is done again next time."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def complete_runs(snapshot: Snapshot) -> list[Record]:
    """Return the complete runs of a sweep's search, baselines included.

    Raises:
        UserError: there is none.
    """
    records = [record for record in snapshot.records if record.state == "complete"]
    if not records:
        raise UserError(f"no run of {snapshot.name!r} has run to the end yet: `tuner resume {snapshot.name}`")
    return records


def _is_evaluated(record: Record, tier: Tier, num_images: int | None, autoattack: bool) -> bool:
    results = read_evaluation(record.run.folder, tier)
    if results is None or (autoattack and results.autoattack is None):
        return False
    return results.asked == num_images


def _evaluate(sweep: SweepFolder, record: Record, tier: Tier, options: dict[str, Any]) -> tuple[float, float]:
    from trainables.judging.saved import evaluate_classifier, load_run_classifier

    trained = load_run_classifier(record.run.settings, sweep.last_checkpoint(record))
    started = time.monotonic()
    verdict = evaluate_classifier(trained, "test", tier=tier, **options)
    content = {"format": FORMAT, **verdict, "asked": options["num_images"]}
    sweep.store.write_json(record.run.folder / EVALUATION_FILES[tier], content)
    return verdict["metrics"]["robust_accuracy"], time.monotonic() - started


def evaluations_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Return one row per evaluated run: its key, label, seed, number of images, and metrics of the tier ``final``.

    Args:
        snapshot: with evaluations.
    """
    rows = []
    for record in snapshot.records:
        results = snapshot.evaluations.get(record.run.key)
        if results is not None:
            info = {"run": record.run.key, "label": record.run.label, "seed": record.run.settings["seed"]}
            autoattack = {"autoattack_accuracy": results.autoattack.accuracy} if results.autoattack else {}
            rows.append({**info, "images": results.images, **results.metrics, **autoattack})
    return pd.DataFrame(rows)
