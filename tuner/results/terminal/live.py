"""Progress of a running sweep: a live table on a terminal or in a notebook, a line for each change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from search_spaces.schema import MAX_TRIALS
from search_spaces.sections import Budget
from trainables.evaluation.metrics import Metric, accuracies, watched_accuracies
from tuner.results.follower import REFRESH_EVERY_S, Follower
from tuner.results.terminal.columns import Column, Row, Table, cells, fixed, metric_column
from tuner.results.terminal.html import table_html
from tuner.results.terminal.layout import fit
from tuner.results.terminal.output import NotebookOutput, as_renderable, can_redraw
from tuner.sweep.control import phase_of
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best
from tuner.sweep.runs import Record
from tuner.sweep.state import compute_spent, seconds_spent
from tuner.sweep.status import format_duration

_ROWS_KEPT = 20
_FRAMES = "|/-\\"  # of the spinner
_OTHER_LINES = 6  # of a terminal, for the heading and the summary
_NOTEBOOK_EVERY_S = 0.5
_SUMMARY_EVERY_S = 1.0  # its cost grows with the number of runs


class Runs(Protocol):
    """The runs that are shown: a `Ledger`, or a `Follower` of one."""

    @property
    def records(self) -> Mapping[str, Record]:
        """Every run by its key."""
        ...

    @property
    def num_runs(self) -> int:
        """Number of runs that the sweep asks for, baselines included."""
        ...


def progress(ledger: Runs, budget: Budget) -> float:
    """Return the share of the work that is done, in [0, 1]: the largest share of the runs or of a budget.

    A run that has ended counts as 1, a running one as the share of its compute.
    """
    records = list(ledger.records.values())  # the ledger may grow meanwhile: the table is drawn by a thread
    runs = sum(
        1.0 if record.state != "running" else min(record.metrics.get("compute", 0.0) / budget.compute, 1.0)
        for record in records
    )
    shares = [runs / ledger.num_runs]
    if budget.time is not None:
        shares.append(seconds_spent(records) / budget.time)
    if budget.total_compute is not None:
        shares.append(compute_spent(records) / budget.total_compute)
    return min(max(shares), 1.0)


class LiveTable:
    """Shows the runs of a sweep while it is driven; a context manager.

    Args:
        ledger: the runs.
        console: that is written to.
        budget: of the space.
        mode: ``max`` or ``min``, of the first objective.
        phase: returns the phase of the driver, see `tuner.sweep.control`.
    """

    def __init__(
        self, ledger: Runs, console: Console, *, budget: Budget, mode: str, phase: Callable[[], str] = lambda: "running"
    ) -> None:
        self._ledger = ledger
        self._console = console
        self._budget = budget
        self._mode = mode
        self._phase = phase
        self._started = time.monotonic()
        self._summed_up = -_SUMMARY_EVERY_S
        self._done_before = progress(ledger, budget)
        self.is_at_work = True
        """Whether a driver trains the runs that have begun; they are called unfinished if none does."""
        self._is_left = False
        self._live: Live | None = None
        if can_redraw(console):
            self._live = Live(console=console, get_renderable=self._screen, refresh_per_second=2)
        self._notebook: NotebookOutput | None = None
        self._shown = -_NOTEBOOK_EVERY_S

    def __enter__(self) -> LiveTable:
        if self._live:
            self._live.__enter__()
        elif self._console.is_jupyter and not self._console.quiet:
            self._notebook = NotebookOutput()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_left = True
        if self._live:
            self._live.__exit__(kind, error, trace)
        if self._notebook:
            self._show_in(self._notebook)

    def changed(self, record: Record) -> None:
        """Show a run that has changed: at once as a line, or within half a second in the table.

        A notebook's table shows it with the first change that comes half a second after the last one that is shown:
        not every kernel takes outputs from threads.
        """
        if self._notebook:
            if time.monotonic() - self._shown >= _NOTEBOOK_EVERY_S:
                self._show_in(self._notebook)
        elif not self._live:
            self._console.print(self._line(record), markup=False, highlight=False, soft_wrap=True)

    def _line(self, record: Record) -> str:
        reason = f"  ({record.reason.strip().splitlines()[-1]})" if record.reason else ""
        about = f"{record.run.name:<24} {record.run.label:<22} {self._outcome(record):<10}"
        text = f"{about} {report_line(record.metrics)}{reason}"
        return f"{text}  | {self._summary()}" if record.state != "running" and self._is_summary_due() else text

    def _is_summary_due(self) -> bool:
        """Return whether a line ends with the summary: at most one a second does, but for the last runs'."""
        now = time.monotonic()
        if now - self._summed_up < _SUMMARY_EVERY_S and len(self._ledger.records) < self._ledger.num_runs:
            return False
        self._summed_up = now
        return True

    def _screen(self) -> Group:
        table = self._table()
        shown = as_renderable(table, fit(table.columns, cells(table), self._console.width), self._console)
        return Group(shown, Text(f"{self._spinner()}{self._summary()}"))

    def _show_in(self, notebook: NotebookOutput) -> None:
        summary = self._summary()
        notebook.show(summary, table_html(self._table(), [summary]))
        self._shown = time.monotonic()

    def _spinner(self) -> str:
        """Return what changes with every look as long as runs train, which may report nothing for minutes."""
        is_at_work = self.is_at_work and self._phase() != "paused" and not self._is_left
        return f"{_FRAMES[int(2 * time.monotonic()) % len(_FRAMES)]} " if is_at_work else ""

    def _table(self) -> Table:
        records = list(self._ledger.records.values())
        winner = best(records, self._mode)
        most = min(_ROWS_KEPT, max(self._console.height - _OTHER_LINES, 1))
        rows = tuple(_row(record, self._outcome(record), is_best=record is winner) for record in records[-most:])
        return Table("", _columns(has_seeds=any(_is_of_seed(record) for record in records)), rows)

    def _outcome(self, record: Record) -> str:
        return "unfinished" if record.state == "running" and not self.is_at_work else record.outcome

    def _summary(self) -> str:
        records = list(self._ledger.records.values())
        ended = sum(record.state != "running" for record in records)
        winner = best(records, self._mode)
        at_most = "at most " if self._budget.trials is None and self._ledger.num_runs >= MAX_TRIALS else ""
        total, running = self._ledger.num_runs, len(records) - ended
        text = f"{ended} of {at_most}{total:,} runs ended"
        text += f", {running} {'running' if self.is_at_work else 'unfinished'}" if running else ""
        waiting = total - len(records)
        text += f", {at_most}{waiting:,} to come" if waiting > 0 else ""
        if self._phase() != "running":
            text = f"{self._phase()}: {text}"
        if winner is not None:
            text += f", best {winner.run.key} {100 * (winner.value or 0.0):.1f}"
        elapsed, done = time.monotonic() - self._started, progress(self._ledger, self._budget)
        text += f", {format_duration(elapsed)} gone"
        if self._done_before < done < 1.0:
            left = elapsed * (1.0 - done) / (done - self._done_before)
            text += f", about {format_duration(left)} left"
        return text


def report_line(metrics: Mapping[str, float]) -> str:
    """Return the compute of a report and its accuracies in percent, at equal width."""
    measured = [metric for metric in _shown() if metric.name in metrics]
    shares = "  ".join(f"{metric.label} {100 * metrics[metric.name]:5.1f}" for metric in measured)
    return f"compute {metrics.get('compute', 0.0):4.1f}  {shares}"


def _shown() -> list[Metric]:
    """Return the accuracies that are shown: those of every report, then those at the end."""
    return [*watched_accuracies("overview"), *accuracies("overview")]


def _is_of_seed(record: Record) -> bool:
    """Return whether a run is one of a configuration's several seeds: all have the seed in their names, too."""
    return record.run.kind == "confirm"


def _columns(*, has_seeds: bool) -> tuple[Column, ...]:
    return (
        Column("run", "run", "name"),
        *([Column("seed", "seed")] if has_seeds else []),
        Column("label", "trainable", "name", rank=4),
        Column("outcome", "state", "words", rank=2),
        Column("compute", "compute", rank=3, text=fixed("compute")),
        *(metric_column(metric, 0 if metric.name.endswith("robust") else 1) for metric in _shown()),
    )


def _row(record: Record, outcome: str, *, is_best: bool) -> Row:
    style = "bold green" if is_best else "dim" if record.state in ("pruned", "failed") else None
    name, seed = record.run.name, record.run.settings["seed"]
    run = name.removesuffix(f".seed{seed}") if _is_of_seed(record) else name
    about = {"run": run, "seed": seed, "label": record.run.label, "outcome": outcome}
    return Row({**record.metrics, "compute": record.metrics.get("compute", 0.0), **about}, style)


def watch_sweep(sweep: SweepFolder, console: Console) -> None:
    """Show the progress of a sweep until no driver works on it, then return."""
    follower = Follower(sweep)
    space = sweep.space
    with LiveTable(
        follower, console, budget=space.budget, mode=space.objective.mode, phase=lambda: phase_of(sweep)
    ) as live:
        changed = list(follower.records.values())
        while True:
            is_running = live.is_at_work = sweep.is_running()  # before the last look: nothing comes after it
            for record in changed:
                live.changed(record)
            changed = follower.refresh()
            if not is_running and not changed:
                return
            time.sleep(REFRESH_EVERY_S if is_running else 0.0)
