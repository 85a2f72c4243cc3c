"""The ledger: the Optuna studies of a search, which decide what has happened.

Everything else is derived from them and from the runs' folders. One journal holds a study for the search and one for
the baselines; whenever a driver dies, the next one resumes the same runs from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search_spaces.configurations import baseline_configurations, configuration_for
from search_spaces.sections import SamplerClass
from tuner.search.distributions import suggest
from tuner.search.open_runs import OpenRuns, claim_folder
from tuner.search.samplers import build_sampler, create_pruning_study, create_study
from tuner.search.sampling.imported import SamplerSource
from tuner.search.sampling.several_objectives import reported_objectives
from tuner.search.sampling.untried import TriedPoints, without_repeats
from tuner.search.warm_start import add_observations
from tuner.storage.cached_storage import WriterStorage
from tuner.storage.journal import replaying
from tuner.storage.optuna_internals import open_trial, study_id
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import violations
from tuner.sweep.reader import (
    BASELINES,
    NUM_TRIALS,
    SEARCH,
    check_num_trials,
    open_writer,
    record_of,
    records_of,
    require_study,
    run_of,
)
from tuner.sweep.runs import Kind, Record, Run
from tuner.sweep.state import GAVE_UP, Convergence, is_complete, seconds_spent, spent_budget

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

_log = logging.getLogger(__name__)


class Ledger:
    """The runs of a search: which are to be trained, and what they have reported. Writes the sweep's studies.

    Args:
        sweep: whose lock the caller holds.
        study_lock: what `SweepFolder.lock` has returned: needed if a database holds the study.
        tell: says to a person what was moved aside.

    Raises:
        UserError: the journal or a run that has ended is damaged, or the database cannot be used.
    """

    def __init__(
        self, sweep: SweepFolder, study_lock: StudyLock | None = None, tell: Callable[[str], None] = _log.warning
    ) -> None:
        self._sweep = sweep
        self._tell = tell
        self._journal = open_writer(sweep, study_lock)
        self._space = sweep.space
        by_class = isinstance(sweep.space.search.sampler, SamplerClass)
        self._has_sampler_failed = False
        self._samplers = SamplerSource(sweep.space, tell) if by_class else None
        self._grid = sweep.space.grid() if sweep.space.search.sampler == "grid" else []
        with replaying(sweep.study_place):
            self._storage = storage = WriterStorage(self._journal)
        require_study(sweep, storage)
        search = create_study(storage, SEARCH, self._space.objectives)
        check_num_trials(sweep, search.user_attrs.get(NUM_TRIALS, 0))
        self._studies: dict[Kind, Study] = {
            "trial": search,
            "baseline": create_study(storage, BASELINES, self._space.objectives),
        }
        self._pruning = create_pruning_study(storage, sweep, search)
        self._tried = TriedPoints(self._space)
        self._known: list[dict[str, Any]] = (
            self._grid * self._space.seeds if self._grid else without_repeats(self._space)
        )
        if search.user_attrs.get(NUM_TRIALS) != sweep.num_trials:
            search.set_user_attr(NUM_TRIALS, sweep.num_trials)
        self._num_earlier = add_observations(sweep, search)
        self._enqueue()
        self._unfinished = [
            (kind, frozen)
            for kind in self._studies
            for frozen in self._trials(kind)
            if frozen.state == TrialState.RUNNING
        ]
        self._num_started = sum(trial.state != TrialState.WAITING for trial in self._trials("trial"))
        self._num_reporting = len(self._pruning.get_trials(deepcopy=False))
        self._settle_pruning()
        for kind, frozen in self._unfinished:
            if "settings" in frozen.user_attrs:
                claim_folder(sweep, run_of(sweep, kind, frozen), tell, has_started=True)
        self.records: dict[str, Record] = {
            record.run.key: record
            for kind in ("baseline", "trial")
            for record in records_of(sweep, kind, self._trials(kind))
        }
        self._open = OpenRuns(self._journal, self.records, sweep)
        is_converging = self._space.budget.until is not None
        self._convergence = Convergence(self._space, self.records.values()) if is_converging else None
        self._seconds_before = seconds_spent(self.records.values())
        self._started: float | None = None

    @property
    def num_runs(self) -> int:
        """Number of runs that the sweep asks for, baselines included."""
        return self._sweep.num_runs

    @property
    def is_complete(self) -> bool:
        """Whether every run that is asked for has ended."""
        return is_complete(self._sweep, list(self.records.values()))

    @property
    def is_interrupted(self) -> bool:
        """Whether work is left that only a signal can have kept from being done."""
        return bool(self._open or self._unfinished) or not (self.is_complete or self._spent_budget)

    @property
    def has_open_runs(self) -> bool:
        """Whether runs have started that have neither ended nor been requeued."""
        return bool(self._open)

    def rest(self) -> None:
        """Stop the clock of the sweep's time until the next run starts."""
        self._seconds_before, self._started = self._seconds, None

    @property
    def _seconds(self) -> float:
        """For how long drivers have worked on the sweep; a driver's time begins with its first run."""
        return self._seconds_before + (time.monotonic() - self._started if self._started is not None else 0.0)

    @property
    def _spent_budget(self) -> str | None:
        return spent_budget(self._space, self.records.values(), self._seconds, self._convergence)

    def next_run(self) -> Run | None:
        """Start the next run and return it: unfinished runs, then baselines, then new trials; None if there is none."""
        if self._unfinished:
            kind, frozen = self._unfinished.pop(0)
            self._prepare_sampler(frozen.number)
            return self._start(kind, open_trial(self._studies[kind], frozen), is_new=False)
        if self._storage.has_waiting(study_id(self._studies["baseline"])):
            return self._start("baseline", self._studies["baseline"].ask(), is_new=True)
        if self._num_started - self._num_earlier >= self._sweep.num_trials or self._spent_budget:
            return None
        self._prepare_sampler(self._num_started)
        trial = self._studies["trial"].ask()
        self._num_started += 1
        return self._start("trial", trial, is_new=True)

    def requeue(self, key: str) -> None:
        """Queue a run again that is not trained any further now; it goes on later, from its checkpoint."""
        run = self._open.requeue(key)
        self._unfinished.append((run.kind, self._trial(self._studies[run.kind], run.number)))

    def report(self, key: str, metrics: dict[str, float]) -> bool:
        """Record the metrics of one report; return False if the run is pruned, which ends it."""
        run = self._open.record(key, metrics)
        if run.record.run.kind == "baseline":
            return True
        objectives = reported_objectives(self._space, metrics)
        if not self._open.should_prune(run, metrics[self._space.prune_on.metric], int(metrics["step"]), objectives):
            return True
        self._finish(key, TrialState.PRUNED)
        return False

    def complete(self, key: str, metrics: dict[str, float]) -> None:
        """Record the last metrics of a run that has spent its compute, and end it."""
        self._open.record(key, metrics)
        feasible = self._open.set_constraints(key, violations(self._space.constraints, metrics))
        values = [metrics[objective.metric] for objective in self._space.objectives]
        report = metrics.get(self._space.prune_on.metric, values[0])  # a last report of earlier releases has none
        self._finish(key, TrialState.COMPLETE, values=values, report=report, feasible=feasible)

    def fail(self, key: str, reason: str) -> None:
        """End a run that cannot go on, with the reason."""
        self._finish(key, TrialState.FAIL, reason=reason)

    def _finish(self, key: str, state: TrialState, **known: Any) -> None:
        self._open.finish(key, state, self._seconds, **known)
        if self._convergence is not None:
            self._convergence.add(self.records[key])

    def give_up(self, reason: str) -> None:
        """Write why this driver gives the sweep up; an empty reason removes what was written."""
        study = self._studies["trial"]
        if study.user_attrs.get(GAVE_UP, "") != reason:
            study.set_user_attr(GAVE_UP, reason)
            self._journal.sync()

    def _prepare_sampler(self, number: int) -> None:
        study = self._studies["trial"]
        num_known = self._num_earlier + len(self._known)
        study.sampler = build_sampler(
            self._space, number, self._tried, self._samplers, study, num_known, self._on_sampler_failure
        )

    def _on_sampler_failure(self, error: Exception) -> None:
        if not self._has_sampler_failed:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            self._tell(f"the sampler {self._space.search.sampler} has failed ({what}): such trials are drawn at random")
        self._has_sampler_failed = True

    def _trials(self, kind: Kind) -> list[FrozenTrial]:
        return self._studies[kind].get_trials(deepcopy=False)

    def _trial(self, study: Study, number: int) -> FrozenTrial:
        """Return one trial, without a look at the others: they may be many."""
        return self._storage.get_trial(self._storage.get_trial_id_from_study_id_trial_number(study_id(study), number))

    def _enqueue(self) -> None:
        """Queue what is known beforehand: baselines, the grid, known configurations. A second call adds nothing."""
        baselines = list(baseline_configurations(self._space, self._sweep.num_seeds).items())
        for name, settings in baselines[len(self._trials("baseline")) :]:
            self._studies["baseline"].enqueue_trial({}, user_attrs={"name": name, "settings": settings})
        for parameters in self._known[len(self._trials("trial")) - self._num_earlier :]:
            self._studies["trial"].enqueue_trial(parameters)

    def _settle_pruning(self) -> None:
        """End what a driver that died between two lines has left running in the study that prunes."""
        if self._pruning is self._studies["trial"]:
            return
        ended = {trial.number for trial in self._trials("trial") if trial.state.is_finished()}
        for frozen in self._pruning.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if frozen.number in ended:
                self._pruning.tell(frozen.number, state=TrialState.FAIL)

    def _start(self, kind: Kind, trial: Trial, *, is_new: bool) -> Run:
        self._started = self._started or time.monotonic()
        if "settings" not in trial.user_attrs:
            settings = self._space.settings(lambda parameter: suggest(trial, parameter))
            # All grid points share a seed before the next one, so that they are compared in pairs.
            num_before = trial.number // len(self._grid) if self._grid else trial.number
            seed = self._space.search.seed + num_before
            trial.set_user_attr("settings", configuration_for(self._space, settings, seed))
        frozen = self._trial(self._studies[kind], trial.number)
        run = run_of(self._sweep, kind, frozen)
        if is_new:
            claim_folder(self._sweep, run, self._tell, has_started=False)
        record = record_of(self._sweep, run, frozen)
        if kind == "baseline":
            return self._open.start(record, trial)
        reports = self._reports(trial)
        last_report = self._trial(self._pruning, trial.number).last_step
        return self._open.start(record, trial, reports, last_report)

    def _reports(self, trial: Trial) -> Trial:
        """Return the trial of the same number in the study that prunes."""
        if self._pruning is self._studies["trial"]:
            return trial
        if self._num_reporting > trial.number:
            return open_trial(self._pruning, self._trial(self._pruning, trial.number))
        for _ in range(trial.number - self._num_reporting):  # numbers that no trial of this sweep has
            self._pruning.add_trial(create_trial(state=TrialState.FAIL))
        self._num_reporting = trial.number + 1
        return self._pruning.ask()
