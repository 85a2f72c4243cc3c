"""A sweep's runs under attack on test images: the results of each are a file in its run's folder, made once."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console

from trainables.common.process_state import end_with_parent, environment, safe_path
from trainables.evaluation.metrics import accuracy_of
from trainables.evaluation.tiers import BENCHMARK
from tuner.cluster import local_ray
from tuner.errors import CheckpointError, UserError
from tuner.execution.launch import gpu_use
from tuner.execution.preflight import check_resources, choose_device
from tuner.execution.software import check_software, record_software
from tuner.results.bundles.export import num_threads
from tuner.results.terminal.output import say
from tuner.results.terminal.waiting import OnProgress, counting
from tuner.storage.recorded_files import RecordedFiles
from tuner.sweep.control import Control, StopRequested
from tuner.sweep.evaluations import EVALUATION_FILES, read_evaluation
from tuner.sweep.folder import FORMAT, SweepFolder
from tuner.sweep.identity import GpuUse
from tuner.sweep.reader import open_files
from tuner.sweep.runs import Record, Tier
from tuner.sweep.snapshot import Snapshot, read_snapshot

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

_MOST_ON_GPU = 4
"""How many processes evaluate on a GPU at once by default; how many are of use was not measured."""
_LOOK_S = 0.5
"""So often it is asked whether another run may begin."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How the runs of a sweep are evaluated.

    Attributes:
        tier: by which attacks.
        num_images: only the first test images; None for all.
        autoattack: whether AutoAttack standard is run on the same images; with the strongest attacks only.
        num_threads: that torch has for each run.
        data: a folder with the dataset's files, where they are not in the cache.
        device: that each run is evaluated on, where that is not left to a cluster.
    """

    tier: Tier
    num_images: int | None
    autoattack: bool
    num_threads: int
    data: Path | None
    device: str = "cpu"


def evaluate_runs(  # noqa: PLR0913 - what is evaluated, how, and who is told
    sweep: SweepFolder,
    records: Sequence[Record],
    files: RecordedFiles,
    *,
    tier: Tier = "final",
    num_images: int | None,
    autoattack: bool = False,
    workers: int | None,
    device: str | None = None,
    tell: Callable[[str], object],
    on_progress: OnProgress = lambda done, total: None,
    control: Control | None = None,
) -> None:
    """Evaluate runs that have not been evaluated on these test images: here, or on the cluster of ``RAY_ADDRESS``.

    On a request to stop or to pause no other run begins; those that are being evaluated are finished and recorded.

    Args:
        sweep: whose runs are evaluated; the caller holds its lock.
        records: of complete runs.
        files: writes the results, see `tuner.sweep.reader.open_files`.
        tier: by which attacks.
        num_images: only the first test images.
        autoattack: whether AutoAttack standard is run on the same images; with the strongest attacks only.
        workers: how many runs are evaluated at once; by default as many as there are cores, on a GPU at most 4, or as
            many as fit the cluster.
        device: see `tuner.execution.preflight.choose_device`; by default what the sweep's runs use.
        tell: is told what has been done.
        on_progress: is told how many of the runs that were left are done.
        control: takes requests to stop, pause and resume; without it there are none.

    Raises:
        UserError: a worker was killed, or the device is not there.
        CheckpointError: a run's checkpoint is gone or damaged.
        StopRequested: it was asked for while runs were left.
    """
    sweep.provide_code()
    threads = num_threads(sweep.space.resources.cpu)
    data = Path(sweep.data) if sweep.data else None
    options = EvaluationOptions(tier, num_images, autoattack, threads, data)
    left = [record for record in records if not _is_evaluated(record, options, files)]
    left.sort(key=lambda record: -record.metrics.get("robust", 0.0))  # the images that withstand take longest
    tell(f"{len(records) - len(left)} of {len(records)} runs are evaluated already")
    if not left:
        return
    on_progress(0, len(left))
    unusable: list[str] = []
    waiting = {record.run.key: record for record in left}
    while waiting:
        now = list(waiting.values())
        evaluated = (
            _evaluate_here(sweep, now, options, workers, device, control)
            if local_ray.is_wanted()
            else _evaluate_on_cluster(sweep, now, options, workers, device, tell, control)
        )
        with closing(evaluated):
            for key, outcome in evaluated:
                folder = waiting.pop(key).run.folder
                on_progress(len(left) - len(waiting), len(left))
                if isinstance(outcome, CheckpointError):
                    unusable.append(f"{key}: {outcome}")
                else:
                    content = {"format": FORMAT, "sweep_id": sweep.id, "run": key, **outcome.results}
                    files.write_json(folder / EVALUATION_FILES[tier], {**content, "asked": num_images})
                    where = f" on {outcome.where}" if outcome.where else ""
                    robust = 100 * outcome.results["metrics"]["robust"]
                    tell(f"{key}: {robust:.1f} % robust on test images, {outcome.seconds:.0f} s{where}")
        if waiting and control is not None:
            _pause(control, sweep, tell)
    if unusable:
        raise CheckpointError("\n".join(unusable))


def _pause(control: Control, sweep: SweepFolder, tell: Callable[[str], object]) -> None:
    """Wait, if that was asked for, until the evaluation is to go on.

    Raises:
        StopRequested: it is to end.
    """
    if control.phase == "pausing":
        tell(f"Paused: `tuner resume {sweep.name}` goes on, `tuner stop {sweep.name}` ends the driver")
        if control.wait():
            tell("Going on")
            return
    raise StopRequested


def _may_begin(control: Control | None) -> bool:
    return control is None or not control.is_winding_down()


Outcomes = Generator[tuple[str, "Outcome | CheckpointError"], None, None]


@dataclass(frozen=True)
class Outcome:
    """What came of evaluating a run: what `evaluate_classifier` returns, how long it took, and where that was."""

    results: dict[str, Any]
    seconds: float
    where: str = ""


def _evaluate_here(
    sweep: SweepFolder,
    left: Sequence[Record],
    options: EvaluationOptions,
    workers: int | None,
    device: str | None,
    control: Control | None,
) -> Outcomes:
    """Evaluate runs in processes of this machine, until none is left or none may begin any more."""
    of_sweep = "cpu" if sweep.gpus.most == 0 else sweep.gpus.device
    options = replace(options, device=choose_device(device or of_sweep))
    most = _MOST_ON_GPU if options.device != "cpu" else len(left)
    at_once = min(workers or min(max(1, (os.cpu_count() or 1) // options.num_threads), most), len(left))
    # Not forked: torch's threads do not survive that.
    context = multiprocessing.get_context("spawn")
    with (
        environment(safe_path()),
        ProcessPoolExecutor(at_once, mp_context=context, initializer=end_with_parent) as pool,
    ):
        waiting = list(reversed(left))
        jobs: dict[Future[Outcome], str] = {}
        try:
            while True:
                may_begin = _may_begin(control)  # also while all are busy: requests are taken there
                while may_begin and waiting and len(jobs) < at_once:
                    record = waiting.pop()
                    jobs[pool.submit(_evaluate, sweep, record, options)] = record.run.key
                if not jobs:
                    return
                for job in wait(jobs, timeout=_LOOK_S, return_when=FIRST_COMPLETED).done:
                    error = job.exception()
                    yield jobs.pop(job), error if isinstance(error, CheckpointError) else job.result()
        except BrokenProcessPool as error:
            raise UserError("a worker died, perhaps for want of memory: try again with fewer --workers") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _evaluate_on_cluster(
    sweep: SweepFolder,
    left: Sequence[Record],
    options: EvaluationOptions,
    workers: int | None,
    device: str | None,
    tell: Callable[[str], object],
    control: Control | None,
) -> Outcomes:
    """Evaluate runs as tasks of the cluster that ``RAY_ADDRESS`` names; this process only writes what they return."""
    from tuner.execution.ray_tune.evaluating import EvaluationTask, evaluate_on_cluster
    from tuner.execution.ray_tune.node_checks import verify_nodes
    from tuner.execution.ray_tune.placing import place_sweep
    from tuner.execution.ray_tune.start import start_ray

    use = sweep.gpus if device is None else gpu_use(None, device) or GpuUse()
    check_resources(sweep.space.resources, use)
    start_ray()
    context = verify_nodes(sweep)
    placement = place_sweep(replace(sweep, gpus=use), len(left), context, tell, in_packs=False)
    tasks = [
        EvaluationTask(
            record.run.key,
            record.run.settings,
            sweep.stored_checkpoint(record),
            options.tier,
            options.num_images,
            options.autoattack,
            options.num_threads,
            context,
        )
        for record in left
    ]
    at_once = workers or placement.at_once
    evaluated_tasks = evaluate_on_cluster(
        tasks, placement.resources, workers=at_once, tell=tell, may_begin=partial(_may_begin, control)
    )
    for key, evaluated in evaluated_tasks:
        if evaluated.problem == "checkpoint":
            yield key, CheckpointError(evaluated.reason)
            continue
        if evaluated.results is None:
            raise UserError(f"{key}: {evaluated.reason}")
        yield key, Outcome(evaluated.results, evaluated.seconds, evaluated.where)


def evaluate_sweep(
    sweep: SweepFolder,
    study_lock: StudyLock | None,
    console: Console,
    control: Control,
    *,
    num_images: int | None,
    autoattack: bool = False,
    workers: int | None = None,
    device: str | None = None,
    accept_code_change: bool = False,
) -> None:
    """Put the complete runs of a sweep's search under the strongest attacks, unless they have been so.

    Args:
        sweep: the sweep; the caller holds its lock.
        study_lock: what `SweepFolder.lock` has returned.
        console: shows what has been done.
        control: takes requests to stop, pause and resume.
        num_images: see `evaluate_runs`, like `autoattack` and `workers`.
        autoattack: likewise.
        workers: likewise.
        device: likewise.
        accept_code_change: evaluate with other code than that which trained the runs; it is recorded.

    Raises:
        UserError: no run is complete, a file is damaged, or runs are left and the code that evaluates differs.
        CheckpointError: a run's checkpoint is gone or damaged.
        StopRequested: it was asked for while runs were left.
    """
    records = complete_runs(read_snapshot(sweep, is_locked=True))
    files = open_files(sweep, study_lock)
    options = EvaluationOptions("final", num_images, autoattack, num_threads=1, data=None)
    if not all(_is_evaluated(record, options, files) for record in records):
        change = check_software(sweep, console, accept_code_change=accept_code_change, command="evaluate")
        record_software(sweep, change, files)
    with counting(console, "Evaluating on test images") as on_progress:
        evaluate_runs(
            sweep,
            records,
            files,
            num_images=num_images,
            autoattack=autoattack,
            workers=workers,
            device=device,
            tell=lambda text: say(console, text),
            on_progress=on_progress,
            control=control,
        )


def complete_runs(snapshot: Snapshot) -> list[Record]:
    """Return the complete runs of a sweep's search, baselines included.

    Raises:
        UserError: there is none, or a file is damaged.
    """
    snapshot.require_whole()
    records = [record for record in snapshot.records if record.state == "complete"]
    if not records:
        raise UserError(f"no run of {snapshot.name!r} has run to the end yet: `tuner resume {snapshot.name}`")
    return records


def _is_evaluated(record: Record, options: EvaluationOptions, files: RecordedFiles) -> bool:
    results = read_evaluation(record.run, options.tier)
    if results is None or (options.autoattack and results.autoattack is None):
        return False
    return results.asked == options.num_images and files.is_newest(record.run.folder / EVALUATION_FILES[options.tier])


def _evaluate(sweep: SweepFolder, record: Record, options: EvaluationOptions) -> Outcome:
    from trainables.judging.saved import evaluate_classifier, load_run_classifier

    sweep.provide_code()
    trained = load_run_classifier(record.run.settings, sweep.last_checkpoint(record))
    started = time.monotonic()
    results = evaluate_classifier(
        trained,
        "test",
        tier=options.tier,
        data=options.data,
        device=options.device,
        num_images=options.num_images,
        num_threads=options.num_threads,
        autoattack=options.autoattack,
    )
    return Outcome(results, time.monotonic() - started)


def evaluations_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Return one row per evaluated run: its key, label and seed, what it was evaluated by and on, and its metrics.

    Args:
        snapshot: with evaluations.
    """
    rows = []
    for record in snapshot.records:
        results = snapshot.evaluations.get(record.run.key)
        if results is not None:
            info = {"run": record.run.key, "label": record.run.label, "seed": record.run.settings["seed"]}
            info |= {"tier": results.tier, "dataset": results.dataset, "split": results.split}
            info |= {"epsilon": results.epsilon, "images": results.images}
            benchmark = {accuracy_of(BENCHMARK.name): results.autoattack.accuracy} if results.autoattack else {}
            rows.append({**info, **results.metrics, **benchmark})
    return pd.DataFrame(rows)
