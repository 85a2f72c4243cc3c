"""Reads the Optuna studies of a sweep, and the record of every run from its trial and its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from trainables.common.process_state import garbage_collection_paused
from trainables.evaluation.earlier_names import present_name
from tuner.errors import UserError
from tuner.storage.driver_lock import lost_lines, read_lines_left
from tuner.storage.journal import FileReader, Journal, JournalReader, JournalWriter, replaying
from tuner.storage.recorded_files import RecordedFiles
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import violations
from tuner.sweep.runs import Kind, Record, Run, State, baseline_key, check_shape, damaged_metrics, read_last_metrics

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

optuna.logging.set_verbosity(optuna.logging.WARNING)

SEARCH, BASELINES, PRUNING, CONFIRM = "search", "baselines", "pruning", "confirm"
_STUDIES: dict[Kind, str] = {"trial": SEARCH, "baseline": BASELINES, "confirm": CONFIRM}
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
CONFIRMED = "confirmed"
"""Attribute of the study of confirming: the SHA-256 of ``confirm.json``."""
NUM_TRIALS = "num_trials"
"""Attribute of the study of the search: for how many trials ``sweep.json`` has asked. The number only grows."""
ENDED = "ended"
"""Attribute of a trial: ``seconds`` (see `tuner.sweep.runs.Record.ended_s`), the ``step`` of its last report, and
whether it is ``sealed`` (see `tuner.sweep.runs.Run.is_sealed`)."""
_ENDED_S = "ended_s"  # what earlier releases wrote of it: the seconds alone


@dataclass(frozen=True)
class StudyContent:
    """The trials of a study and the attributes of the whole study."""

    trials: Sequence[FrozenTrial]
    attributes: Mapping[str, object]


class _ReadOnce(BaseJournalBackend):
    """Returns the lines of a journal the first time it is asked, and no newer ones: all studies are of one moment."""

    def __init__(self, backend: BaseJournalBackend) -> None:
        self._backend: BaseJournalBackend | None = backend

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return all lines, later none."""
        backend, self._backend = self._backend, None
        return [] if backend is None else backend.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse: only the driver writes."""
        raise PermissionError("a study is written by its driver alone")


def read_studies(sweep: SweepFolder, tell: Callable[[str], None] | None = None) -> dict[str, StudyContent]:
    """Return the studies of a sweep by name, from one reading of its journal; none where it has not begun.

    Args:
        sweep: the sweep.
        tell: is told if the journal ends in a line that a crash cut off, or has lost its last lines. Only for a sweep
            that no driver is at work on.

    Raises:
        UserError: the journal is damaged, or its database cannot be reached.
    """
    left = _lines_left(sweep, tell) if tell else 0  # before the journal, to which a driver may add lines meanwhile
    backend = open_journal(sweep)
    if backend is None:
        if tell and left:
            tell(lost_lines(sweep.folder, 0, left))
        return {}
    studies = {}
    with replaying(backend.place):
        storage = JournalStorage(_ReadOnce(backend))
        for study in storage.get_all_studies():
            study_id = storage.get_study_id_from_name(study.study_name)
            studies[study.study_name] = StudyContent(storage.get_all_trials(study_id, deepcopy=False), study.user_attrs)
    if tell is not None and backend.num_unfinished_bytes:
        tell(
            f"{backend.place} ends in an unfinished line of {backend.num_unfinished_bytes} bytes, as a crash leaves "
            f"it, which is not read; `tuner resume {sweep.name}` goes on without it"
        )
    if tell is not None and backend.checksums.num_lines < left:
        tell(lost_lines(sweep.folder, backend.checksums.num_lines, left))
    return studies


def _lines_left(sweep: SweepFolder, tell: Callable[[str], None]) -> int:
    try:
        return read_lines_left(sweep.folder, sweep.id)
    except UserError as error:
        tell(str(error))
        return 0


def ended_or_running(studies: Mapping[str, StudyContent], kinds: Sequence[Kind]) -> Iterator[tuple[Kind, FrozenTrial]]:
    """Yield the trials that stand for runs of the given kinds: those that have settings and do not wait."""
    for kind in kinds:
        study = studies.get(_STUDIES[kind])
        for trial in study.trials if study else ():
            if _is_run(trial):
                yield kind, trial


def _is_run(trial: FrozenTrial) -> bool:
    return "settings" in trial.user_attrs and trial.state in STATES


@garbage_collection_paused()
def read_records(sweep: SweepFolder, kinds: Sequence[Kind] = ("baseline", "trial")) -> list[Record]:
    """Return the record of every run of the given kinds, from one reading of the folder.

    A driver may be writing meanwhile.

    Args:
        sweep: the sweep.
        kinds: in the order in which their runs are returned.

    Raises:
        UserError: the journal is damaged, or its database cannot be reached.
    """
    studies = read_studies(sweep)
    sweep.store.pull(sweep.folder)  # afterwards: metrics may be newer than the study, never older
    return [record_of(sweep, run_of(sweep, kind, trial), trial) for kind, trial in ended_or_running(studies, kinds)]


def records_of(sweep: SweepFolder, kind: Kind, trials: Iterable[FrozenTrial]) -> list[Record]:
    """Return the record of every run that stands among the trials of a study, for whoever has read them.

    Raises:
        DamagedRunError: the metrics of a run are damaged, or do not agree with the study.
    """
    return [record_of(sweep, run_of(sweep, kind, trial), trial) for trial in trials if _is_run(trial)]


def record_of(sweep: SweepFolder, run: Run, trial: FrozenTrial) -> Record:
    """Return the record of a run of a sweep; its last metrics are read from its folder.

    Raises:
        DamagedRunError: the metrics are damaged, or do not agree with the study.
    """
    return make_record(sweep, run, trial, read_last_metrics(run))


def make_record(sweep: SweepFolder, run: Run, trial: FrozenTrial, metrics: Mapping[str, float]) -> Record:
    """Return the record of a run of a sweep from its trial in the study and its last metrics.

    Raises:
        DamagedRunError: the metrics do not agree with the study.
    """
    if trial.state.is_finished():
        _verify(sweep, run, trial, metrics, trial.user_attrs.get(ENDED, {}).get("step"))
    return _record(run, trial, metrics)


def _record(run: Run, trial: FrozenTrial, metrics: Mapping[str, float]) -> Record:
    ended = trial.user_attrs.get(ENDED, {})
    return Record(
        run=run,
        state=STATES[trial.state],
        metrics=dict(metrics),
        value=trial.values[0] if trial.state == TrialState.COMPLETE else None,
        feasible=all(violation <= 0 for violation in trial.constraints.values()),
        reason=trial.user_attrs.get("reason"),
        ended_s=ended.get("seconds", trial.user_attrs.get(_ENDED_S)),
    )


def last_step_of(trial: FrozenTrial) -> int | None:
    """Return the step of the last report of a run that has ended; None if an earlier release has not written it."""
    step: int | None = trial.user_attrs.get(ENDED, {}).get("step")
    return trial.last_step if step is None and trial.state != TrialState.COMPLETE else step


def _verify(
    sweep: SweepFolder, run: Run, trial: FrozenTrial, metrics: Mapping[str, float], last_step: int | None
) -> None:
    """Check that what the study says of a run that has ended is what its last metrics say."""
    if last_step is not None and metrics.get("step", 0) != last_step:
        there = f"it ends with report {metrics['step']}" if metrics else "there is no report in it"
        raise damaged_metrics(run, f"{there}, and by the study the last report is {last_step}")
    if trial.state != TrialState.COMPLETE:
        return
    objectives = [sweep.space.objective] if run.kind == "confirm" else sweep.space.objectives
    measured = {objective.metric: metrics.get(objective.metric) for objective in objectives}
    in_study: dict[str, float] = dict(zip(measured, trial.values, strict=False))
    with contextlib.suppress(KeyError):  # constraints that were added to the space later
        measured |= violations(sweep.space.constraints, metrics)
    bounded = {_present_bound(name): value for name, value in trial.constraints.items()}
    in_study |= {name: value for name, value in bounded.items() if name in measured}
    for name, value in in_study.items():
        if measured[name] != value:
            raise damaged_metrics(
                run, f"by it {name} is {measured[name]} in the end, and {value} in the study: one of them was changed"
            )


def _present_bound(name: str) -> str:
    """Return the present name of a constraint of a trial; `tuner.sweep.ranking.violations` names them."""
    metric, _, bound = name.partition(" ")
    return f"{present_name(metric)} {bound}" if bound else name


def verify_reports(sweep: SweepFolder, run: Run, trial: FrozenTrial, rows: Sequence[Mapping[str, float]]) -> None:
    """Check that the values by which a run might have been pruned are those of its metrics.

    Raises:
        DamagedRunError: they are not.
    """
    metric = sweep.space.prune_on.metric
    for row in rows:
        if metric not in row:  # the last report of an earlier release
            continue
        value = trial.intermediate_values.get(int(row["step"]), row[metric])
        if value != row[metric]:
            raise damaged_metrics(
                run,
                f"by it {metric} is {row[metric]} in report {row['step']:.0f}, and {value} in the study: one of "
                "them was changed",
            )


def damaged_record(sweep: SweepFolder, run: Run, trial: FrozenTrial) -> Record:
    """Return the record of a run whose metrics are damaged: of them, it has the objectives alone, from the study."""
    objectives = [objective.metric for objective in sweep.space.objectives]
    values = trial.values if trial.state == TrialState.COMPLETE else []
    return replace(_record(run, trial, dict(zip(objectives, values, strict=False))), is_damaged=True)


def run_of(sweep: SweepFolder, kind: Kind, trial: FrozenTrial) -> Run:
    """Return the run that a trial of a study stands for.

    Raises:
        UserError: an earlier release has written it, and its settings are damaged.
    """
    if kind == "baseline":
        name: str = trial.user_attrs["name"]
        key, folder = baseline_key(name), sweep.folder / "baselines" / name
    elif kind == "confirm":
        configuration, seed = trial.user_attrs["configuration"], trial.user_attrs["settings"]["seed"]
        key, folder = f"{configuration}.seed{seed}", sweep.folder / "confirm" / configuration / f"seed-{seed}"
    else:
        key, folder = f"trial-{trial.number:04d}", sweep.folder / "trials" / f"{trial.number:04d}"
    is_sealed = trial.user_attrs.get(ENDED, {}).get("sealed", False)
    run = Run(key, kind, trial.number, trial.user_attrs["settings"], folder, sweep.id, sweep.name, is_sealed)
    if not is_sealed:  # perhaps without a checksum
        with replaying(sweep.study_place):
            check_shape(run.settings)
    return run


def open_writer(sweep: SweepFolder, study_lock: StudyLock | None) -> JournalWriter:
    """Return the journal of a sweep for its only writer.

    Args:
        sweep: whose lock the caller holds.
        study_lock: what `SweepFolder.lock` has returned: needed if a database holds the study.

    Raises:
        UserError: the journal is damaged, or the database cannot be used.
        ValueError: a database holds the study, and its lock is not given.
    """
    if sweep.study_storage is None:
        return Journal(sweep.journal, sweep.id)
    from tuner.storage.postgres_journal import DatabaseJournal

    if study_lock is None or study_lock.sweep_id != sweep.id:
        raise ValueError(
            f"the study of {sweep.name!r} is in a database: writing it needs the lock that `sweep.lock` has returned"
        )
    return DatabaseJournal(study_lock)


def check_num_trials(sweep: SweepFolder, asked: int, there: int = 0) -> None:
    """Check that ``sweep.json`` is not older than the study.

    Args:
        sweep: the sweep.
        asked: for how many trials it has asked, by its study.
        there: how many trials the study has.

    Raises:
        UserError: it is; the message says what to do.
    """
    if sweep.num_trials >= max(asked, there):
        return
    in_study = f"the study has {there}" if there > asked else f"by the study it was {asked}"
    raise UserError(
        f"{sweep.folder / 'sweep.json'} asks for {sweep.num_trials} trials, and {in_study}: it is an older copy; put "
        f"the newer one in its place, or `tuner resume {sweep.name} --trials {max(asked, there)}`"
    )


def open_files(sweep: SweepFolder, study_lock: StudyLock | None) -> RecordedFiles:
    """Return what writes files of a sweep with their digests, where nothing else in this process writes its study.

    Args:
        sweep: whose lock the caller holds.
        study_lock: what `SweepFolder.lock` has returned: needed if a database holds the study.

    Raises:
        UserError: the journal is damaged, or the database cannot be used.
    """
    journal = open_writer(sweep, study_lock)
    with replaying(sweep.study_place):
        storage = JournalStorage(journal)
    return RecordedFiles(sweep.folder, sweep.store, journal, storage)


def require_study(sweep: SweepFolder, storage: JournalStorage) -> None:
    """Check that a database has not lost the study of a sweep that has runs.

    Raises:
        UserError: it has none.
    """
    has_search = any(study.study_name == SEARCH for study in storage.get_all_studies())
    if sweep.study_storage and not has_search and any(sweep.folder.glob("*/*/metrics.jsonl")):
        raise UserError(
            f"{sweep.study_place} has no study of {sweep.name!r}, whose folder holds runs: its table tuner_journal "
            "was dropped or emptied; restore it, nothing was changed"
        )


def open_reader(sweep: SweepFolder) -> JournalStorage | None:
    """Return the studies of a sweep, None where none has begun; each look at them reads what is new.

    Raises:
        UserError: the journal is damaged, or its database cannot be reached.
    """
    backend = open_journal(sweep)
    if backend is None:
        return None
    with replaying(backend.place):
        return JournalStorage(backend)


def open_journal(sweep: SweepFolder) -> JournalReader | None:
    """Return the journal of a sweep's studies to be read; None where none has begun."""
    if sweep.study_storage is not None:
        from tuner.storage.postgres_journal import DatabaseReader

        return DatabaseReader(sweep.study_storage, sweep.id)
    journal = sweep.journal
    has_begun = journal.exists() and not (journal.is_file() and journal.stat().st_size == 0)  # made empty, to be locked
    return FileReader(journal, sweep.id) if has_begun else None
