"""Adapters between Ray Tune and the dispatcher: searcher, scheduler, callback, stopper. They decide nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from trainables.worker.context import OUT_OF_MEMORY, PACK_LOST, RunTask, WorkerContext
from tuner.cluster.ray_internals import TuneTrials, node_of_actor
from tuner.execution.dispatcher import Dispatcher, Report
from tuner.execution.ray_tune.capacity import Capacity
from tuner.execution.ray_tune.packs import Packs
from tuner.storage.metrics_file import names_its_run

_METRICS = "metrics/"
_MACHINE_DIED = "its node has died"  # in what Ray says of a worker whose machine crashed, was drained or is cut off


class LedgerSearcher(Searcher):
    """Hands the ledger's runs to Tune."""

    def __init__(self, dispatcher: Dispatcher, context: WorkerContext, packs: Packs | None = None) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._context = context
        self._packs = packs
        self.trials: dict[str, str] = {}
        """The id of Tune's trial to which a run was given last, by the run's key."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the next run as a Tune configuration, None if it has to wait for another one's end."""
        if self._packs:
            self._packs.look()
        run = self._dispatcher.next_run()
        if run is None:
            return str(Searcher.FINISHED) if self._dispatcher.is_done else None
        self.trials[run.key] = trial_id
        is_of_older_release = names_its_run(run.folder) is False
        pack = self._packs.assign(run.key) if self._packs else ""
        return RunTask(
            run.key,
            str(run.folder),
            run.settings,
            self._context,
            run.sweep_id,
            accepts_format_1=is_of_older_release,
            gpu=self._dispatcher.policy.gpu_of(run.key),
            memory_retries=self._dispatcher.policy.memory_retries(run.key),
            pack=pack,
            is_alone=bool(self._packs and self._packs.is_alone(run.key)),
        ).to_config()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles what it is given, for a restore that is never called; an open ledger cannot be pickled.
        return {}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the scheduler has told the ledger."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger is always saved."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger needs no restoring."""


class LedgerScheduler(FIFOScheduler):
    """Takes every result to the ledger, and stops the runs that are over or above the limit."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        capacity: Capacity,
        tell: Callable[[str], None],
        trials: Mapping[str, str],
        packs: Packs | None = None,
    ) -> None:
        """Take what decides, and in ``trials`` which of Tune's trials a run has, see `LedgerSearcher.trials`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._dispatcher = dispatcher
        self._capacity = capacity
        self._tell = tell
        self._trials = trials
        self._packs = packs

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return STOP for a run that is pruned, complete, failed or requeued."""
        key, report = trial.config["key"], _report_of(result)
        goes_on = not self._goes_to_smaller_pack(key, report) and self._dispatcher.on_report(key, report)
        if self._packs:
            self._packs.heard_of(key)
            if goes_on and self._packs.is_leaving(key):
                self._dispatcher.requeue(key)
                goes_on = False
        if goes_on and self._capacity.leaving:
            self._move(trial)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _goes_to_smaller_pack(self, key: str, report: Report) -> bool:
        """Requeue a run that found too little memory among others in its pack, which has one seat fewer then.

        From the second time on, the run is alone in its pack instead.
        """
        if report.failure != OUT_OF_MEMORY or not (self._packs and self._packs.lose_seat(key)):
            return False
        self._dispatcher.requeue(key)
        if self._packs.is_alone(key):
            self._tell(
                f"{key} had too little memory in its pack again; it goes on from its last report, without others"
            )
        else:
            self._tell(
                f"{key} had too little memory in its pack, which has one run fewer now; it goes on from its last report"
            )
        return True

    def _move(self, trial: Trial) -> None:
        """Let a run go on elsewhere if its machine is about to be taken away: now its last report is its newest."""
        worker = trial.temporary_state.ray_actor
        if worker and node_of_actor(worker) in self._capacity.leaving:
            self._dispatcher.policy.expect_eviction(trial.config["key"])
            ray.kill(worker)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Leave the choice to Tune, which starts what waits in order; called in each of its steps, so tidy up here."""
        if self._packs:
            self._packs.look()
        trials = TuneTrials(tune_controller)
        for trial in sorted(trials.waiting(), key=lambda trial: trial.config["key"], reverse=True):
            key = trial.config["key"]
            if self._dispatcher.num_above_limit and self._dispatcher.is_running(key):
                self._dispatcher.requeue(key)
            if not self._dispatcher.is_running(key) or self._trials[key] != trial.trial_id:
                trials.withdraw(trial)
        trials.release_idle_workers()
        trials.forget_ended()
        return None


class LedgerCallback(tune.Callback):
    """Reports dead workers to the failure policy, ends workers whose runs have timed out, and passes on warnings."""

    def __init__(self, dispatcher: Dispatcher, tell: Callable[[str], None], packs: Packs | None = None) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._policy = dispatcher.policy
        self._tell = tell
        self._packs = packs

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Begin to wait for a run's next report."""
        self._policy.heartbeat(trial.config["key"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Say what the worker has found out about the run's checkpoints."""
        if result.get("warning"):
            self._tell(f"{trial.config['key']}: {result['warning']}")

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Kill the workers of runs that have timed out (called ten times a second); Ray takes it for a death.

        In a pack a run may have waited for another one, which does not come to an end with its turn.
        """
        self._policy.is_winding_down()  # takes requests as they come: reports may be minutes apart
        timed_out = self._policy.timed_out()
        if self._packs:
            for key in timed_out:
                self._policy.blame(key, self._packs.at_turn(key))
                self._packs.kill_of(key)
            return
        for trial in trials if timed_out else []:
            worker = trial.temporary_state.ray_actor
            if trial.config["key"] in timed_out and trial.status == Trial.RUNNING and worker:
                ray.kill(worker)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Fail a run whose worker has died too often; it is withdrawn before another one starts. Else it goes on."""
        key, error, reason = trial.config["key"], _last_error(trial), self._why_not_again(trial)
        if reason is not None:
            self._dispatcher.fail(key, reason)
            return
        lost = "machine" if _MACHINE_DIED in error else "pack" if PACK_LOST in error else "worker"
        if PACK_LOST in error and self._dispatcher.is_running(key):
            self._dispatcher.requeue(key)  # Tune would try the same pack again
        self._tell(f"{key} has lost its {lost}, and goes on from its last report")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Requeue a run that Tune gives up, as it does when a worker dies between two runs."""
        key, reason = trial.config["key"], self._why_not_again(trial)
        if self._dispatcher.is_running(key):
            if reason is None:
                self._dispatcher.requeue(key)
            else:
                self._dispatcher.fail(key, reason)

    def _why_not_again(self, trial: Trial) -> str | None:
        """Note that a run's worker, machine or pack has died; a pack with other runs in it counts as a machine."""
        key, error = trial.config["key"], _last_error(trial)
        is_of_others = PACK_LOST in error and self._packs is not None and not self._packs.lost(key)
        return self._policy.worker_died(key, error, with_machine=_MACHINE_DIED in error or is_of_others)


class NoProgress(TrialProgressCallback):
    """Stands where Tune would otherwise put one that formats every result to print it, and keeps every run."""

    def on_trial_result(self, *args: Any, **info: Any) -> None:
        """Do nothing, and so for the others: observers show what goes on."""

    on_trial_error = on_trial_complete = on_trial_result


class FailureStopper(tune.Stopper):
    """Ends everything once the sweep is given up."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._policy = dispatcher.policy

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see LedgerSearcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single run: the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Return whether the sweep is given up."""
        return self._policy.fatal is not None


def _report_of(result: Mapping[str, Any]) -> Report:
    """Return what `trainables.worker.trainable` has put into a result, which Tune has flattened."""
    return Report(
        metrics={name.removeprefix(_METRICS): value for name, value in result.items() if name.startswith(_METRICS)},
        finished=bool(result.get("finished")),
        failure=result.get("failure"),
        reason=str(result.get("reason", "")),
    )


def _last_error(trial: Trial) -> str:
    """Return what Ray says of a worker's last death; `get_error` looks where Tune has not put it yet."""
    path = Path(trial.error_file or "")
    return path.read_text().rpartition("Failure # ")[2].strip() if path.is_file() else "Ray does not say why"
