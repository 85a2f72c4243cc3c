"""The sections of a report, in their order."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from trainables.evaluation.checks import MASKING_FAILURES
from tuner.errors import UserError
from tuner.results.compare import comparison_sentences
from tuner.results.pictures.draw import Pictures
from tuner.results.report import run_charts, search_charts
from tuner.results.report.content import HtmlTable, Picture, Section
from tuner.results.report.study import MIN_TRIALS, StudyView, edge_sentences, read_study
from tuner.results.selection import describe_choice
from tuner.results.terminal.comparison import comparison_table
from tuner.results.terminal.confirmation import (
    configurations_table,
    confirmation_sentences,
    differences_table,
)
from tuner.results.terminal.evaluation import describe_masking
from tuner.sweep.runs import SWEEP, Record
from tuner.sweep.snapshot import Snapshot
from tuner.sweep.status import describe_runs, summarize

_PICTURES = {
    "examples.png": "Images under attack",
    "success.png": "What the generator makes of each class",
    "accuracy_by_epsilon.png": "Accuracy by epsilon",
}


def make_sections(snapshot: Snapshot, drawn: Pictures | None = None) -> list[Section]:
    """Return the sections of a report; those that have nothing to show are left out.

    Args:
        snapshot: of the sweep, with rows and evaluations.
        drawn: pictures of the sweep and of its best trial, if there are any.
    """
    view = read_study(snapshot)
    sections = [
        _verdict(snapshot),
        _comparison(snapshot),
        _search(snapshot, view),
        _parameters(snapshot, view),
        _curves(snapshot),
        *_training(snapshot),
        _masking(snapshot),
        *([_images(snapshot, drawn)] if drawn else []),
        _origin(snapshot),
    ]
    return [section for section in sections if not section.is_empty]


def _verdict(snapshot: Snapshot) -> Section:
    if snapshot.confirmation is not None:
        said = [*confirmation_sentences(snapshot.confirmation), *comparison_sentences(snapshot)]
    else:
        said = [
            *comparison_sentences(snapshot),
            *(describe_choice(snapshot, snapshot.best)[-1:] if snapshot.best else ()),
        ]
    running = ["The sweep is running: this is how far it has come."] if snapshot.driver else []
    counts = [f"{describe_runs(summarize(snapshot))}."] if snapshot.records else []
    return Section("verdict", "Verdict", [*running, *snapshot.problems, *said, *counts])


def _comparison(snapshot: Snapshot) -> Section:
    section = Section("comparison", "Comparison")
    confirmation = snapshot.confirmation
    if confirmation is not None:
        section.tables.append(HtmlTable.of(configurations_table(confirmation)))
        if confirmation.differences:
            section.tables.append(HtmlTable.of(differences_table(confirmation)))
        chart = run_charts.confirmed_with_intervals(confirmation)
        section.charts += [chart] if chart else []
    shown = {record.run.key for record in run_charts.leading_runs(snapshot)}
    if shown:
        table = comparison_table(snapshot)
        rows = tuple(row for row in table.rows if row.values["run"] in shown)
        left = len(table.rows) - len(rows)
        note = f"{left:,} more trials are in `tuner compare {snapshot.name}`." if left else ""
        section.tables.append(HtmlTable.of(table, rows, note))
    chart = run_charts.robust_with_intervals(snapshot)
    section.charts += [chart] if chart else []
    return section


def _search(snapshot: Snapshot, view: StudyView) -> Section:
    charts = (search_charts.best_over_compute(snapshot), search_charts.front(snapshot, view))
    return Section("search", "The search", charts=[chart for chart in charts if chart])


def _parameters(snapshot: Snapshot, view: StudyView) -> Section:
    section = Section("parameters", "Parameters", edge_sentences(snapshot, view))
    total = len(view.complete)
    if total and not view.importance:
        reason = f"{total} of at least {MIN_TRIALS}" if total < MIN_TRIALS else "all have the same value"
        section.sentences.append(f"What mattered cannot be told from the complete trials: {reason}.")
    if total > len(view.shown):
        section.sentences.append(
            f"Charts by parameter show {len(view.shown):,} of {total:,} complete trials: half of them are "
            "the best, the others an even selection."
        )
    charts = (search_charts.importance(view), search_charts.together(snapshot, view))
    section.charts = [*(chart for chart in charts if chart), *search_charts.slices(snapshot, view)]
    return section


def _curves(snapshot: Snapshot) -> Section:
    chart = run_charts.learning_curves(snapshot)
    return Section("curves", "While they trained", charts=[chart] if chart else [])


def _training(snapshot: Snapshot) -> Iterator[Section]:
    if snapshot.best is not None:
        run = snapshot.best.run
        title = f"Training of {run.key} ({run.label})"
        yield Section("training", title, charts=run_charts.training(snapshot, snapshot.best))


def _masking(snapshot: Snapshot) -> Section:
    rows = []
    for record in run_charts.leading_runs(snapshot):
        evaluated = snapshot.evaluations.get(record.run.key)
        metrics = dict(record.metrics) if evaluated is None else {**record.metrics, **evaluated.metrics}
        if MASKING_FAILURES in metrics:
            rows.append(("", (record.run.name, describe_masking(metrics))))
    if not rows:
        return Section("masking", "")
    said = "Checks for gradient masking, by which attacks can fail although better ones would succeed."
    return Section("masking", "Gradient masking", [said], [HtmlTable("", ("run", "result"), tuple(rows))])


def _images(snapshot: Snapshot, drawn: Pictures) -> Section:
    section = Section("images", "Under attack")
    shown = subject(snapshot)
    files = [*drawn.files.get(shown.run.key, ()), *drawn.files.get(SWEEP, ())] if shown else []
    paths = {path.name: path for path in files}
    section.pictures += [Picture.read(title, paths[name]) for name, title in _PICTURES.items() if name in paths]
    section.sentences += [f"Not drawn: {what}" for what in drawn.missing]
    return section


def subject(snapshot: Snapshot) -> Record | None:
    """Return the run that a report shows images of: the best trial, or before there is one a baseline."""
    baselines = (record for record in snapshot.records if record.run.kind == "baseline" and record.metrics)
    return snapshot.best or next(baselines, None)


def _origin(snapshot: Snapshot) -> Section:
    section = Section("origin", "What ran, where, and how to repeat it")
    sweep = snapshot.sweep
    try:
        section.text = (sweep.folder / "space.yaml").read_text(encoding="utf-8")
        origin = sweep.read_provenance()
    except (UserError, OSError) as error:
        section.sentences.append(str(error))
        return section
    command = shlex.join(["tuner", *origin["command"][1:]])
    rows = [
        ("command", command),
        ("commit", origin["git_commit"] or "an installed package"),
        ("machine", origin["platform"]),
        *((name, version) for name, version in origin["versions"].items()),
        (f"data: {origin['dataset']['name']}", f"SHA-256 {origin['dataset']['sha256']}"),
        ("sweep", f"{sweep.name}, id {sweep.id}"),
        *((f"resumed {again['time']}", again["git_commit"] or "") for again in origin.get("resumed", [])),
    ]
    section.tables.append(HtmlTable("", ("", ""), tuple(("", row) for row in rows)))
    section.sentences.append(
        f"To repeat it, save the space file below as {snapshot.space.name}.yaml, install these versions, and run "
        f"`tuner launch {snapshot.space.name}.yaml --trials {sweep.num_trials}`."
    )
    return section
