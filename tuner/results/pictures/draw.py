"""Pictures of a sweep and of its runs, from the sweep's folder alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.evaluation.metrics import metric_named
from trainables.storage.atomic import reason_of, whole_folder, write_whole
from tuner.errors import UserError
from tuner.results.bundles.export import num_threads
from tuner.results.selection import choose_run
from tuner.sweep.provenance import training_code
from tuner.sweep.ranking import eligible, front
from tuner.sweep.runs import SWEEP, Record, num_images
from tuner.sweep.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trainables.judging.examples import Examples


_DPI = 110


@dataclass
class Pictures:
    """PNG files that were written.

    Attributes:
        files: by the key of the run that they show; `SWEEP` stands for the sweep itself.
        missing: a line for each picture that could not be drawn.
    """

    files: dict[str, list[Path]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, key: str, figure: Figure, target: Path) -> None:
        """Write a figure and remember it."""
        self.files.setdefault(key, []).append(save_figure(figure, target))


def draw_comparison(snapshot: Snapshot, target: Path) -> Path | None:
    """Draw accuracy by compute of the best trial and the baselines, with all other trials in grey.

    With several objectives, the Pareto front is drawn instead, once a trial is eligible.

    Args:
        snapshot: of the sweep, with rows.
        target: the PNG to write.

    Returns:
        The PNG; None if no run has reported.
    """
    if _has_front(snapshot):
        return save_figure(_front(snapshot), target)
    return _draw_by_compute(snapshot, target)


def _draw_by_compute(snapshot: Snapshot, target: Path) -> Path | None:
    from tuner.results.pictures import figures as pictures

    records = snapshot.records
    if not any(record.metrics for record in records):
        return None
    named = _important(snapshot)
    rows = {_name(snapshot, record): snapshot.rows[record.run.key] for record in named}
    others = [snapshot.rows[record.run.key] for record in records if record not in named]
    title = _title(snapshot, _images(records[0].run.settings, has_ended=True))
    return save_figure(pictures.comparison(title, rows, others), target)


def write_pictures(
    snapshot: Snapshot, target: Path | None = None, key: str | None = None, device: str | None = None
) -> tuple[Path, list[str]]:
    """Write the pictures of a run into a new folder, which appears whole or not at all.

    Args:
        snapshot: of the sweep, with rows.
        target: the folder to make; by default ``pictures/<sweep>-<run>`` right here.
        key: of the run (``trial-0003``, ``3``, ``fgsm_retraining``); by default the best trial.
        device: see `draw_run`.

    Returns:
        The folder, and a line for each picture that could not be drawn.

    Raises:
        UserError: there is no such run, it has not ended or not reported, the folder is there already or cannot be
            written.
    """
    sweep, record = snapshot.sweep, choose_run(snapshot, key, ("complete", "pruned", "failed"))
    if not record.metrics:
        raise UserError(f"{record.run.key} of {sweep.name!r} {record.state} before it reported: nothing can be drawn")
    target = (target or Path("pictures") / f"{sweep.name}-{record.run.key}").absolute()
    if target.exists():
        raise UserError(f"{target} is there already: remove it or choose another --output")
    try:
        with whole_folder(target) as folder:
            drawn = draw_run(snapshot, record, folder, device)
    except OSError as error:
        raise UserError(
            f"cannot draw {record.run.key} into {target}: {reason_of(error)}; choose another --output"
        ) from error
    return target, drawn.missing


def draw_run(snapshot: Snapshot, record: Record, folder: Path, device: str | None = None) -> Pictures:
    """Draw a run's training, attacked images, and accuracy by epsilon beside the best trial's and the baselines'.

    A picture whose checkpoint is missing is left out, and `Pictures.missing` says so.

    Args:
        snapshot: of the sweep, with rows.
        record: a run that has reported.
        folder: an existing folder for the PNGs.
        device: on which images are attacked; by default a GPU if there is one.
    """
    others = [other for other in _important(snapshot) if other.run.key != record.run.key]
    drawn = Pictures()
    examples = _render_examples(snapshot, [record, *others], drawn, device)
    _draw_one(snapshot, record, examples.get(record.run.key), folder, drawn)
    _draw_by_epsilon(snapshot, [record, *others], examples, folder, drawn)
    return drawn


def draw_sweep(snapshot: Snapshot, folder: Path, *, with_runs: bool = True) -> Pictures:
    """Draw a sweep, and its best trial and its baselines, each of these into a subfolder of its own.

    Args:
        snapshot: of the sweep, with rows.
        folder: an existing folder for the PNGs.
        with_runs: draw the best trial and the baselines, too; it takes seconds for each, with its classifier.
    """
    drawn = Pictures()
    comparison = _draw_by_compute(snapshot, folder / "comparison.png")
    if comparison is not None:
        drawn.files[SWEEP] = [comparison]
    if _has_front(snapshot):
        drawn.add(SWEEP, _front(snapshot), folder / "front.png")
    if not with_runs:
        return drawn
    important = _important(snapshot)
    examples = _render_examples(snapshot, important, drawn)
    for record in important:
        (folder / record.run.key).mkdir()
        _draw_one(snapshot, record, examples.get(record.run.key), folder / record.run.key, drawn)
    _draw_by_epsilon(snapshot, important, examples, folder, drawn)
    return drawn


def _has_front(snapshot: Snapshot) -> bool:
    return len(snapshot.space.objectives) > 1 and bool(eligible(snapshot.records))


def _front(snapshot: Snapshot) -> Figure:
    """Draw the first objective by the second: the front, the other trials that ran to the end, the baselines."""
    from tuner.results.pictures import figures as pictures

    objectives = snapshot.space.objectives[:2]
    along_y, along_x = objectives

    def points(chosen: Sequence[Record]) -> list[tuple[float, float]]:
        return [(_shown(along_x.metric, record), _shown(along_y.metric, record)) for record in chosen]

    complete = [record for record in snapshot.records if record.state == "complete"]
    nondominated = front(complete, objectives)
    others = [record for record in complete if record.run.kind == "trial" and record not in nondominated]
    baselines = {record.run.name: points([record]) for record in complete if record.run.kind == "baseline"}
    groups = {"front": points(nondominated), "other trials": points(others), **baselines}
    names = (metric_named(along_x.metric).words, metric_named(along_y.metric).words)
    return pictures.front(_title(snapshot, _images(complete[0].run.settings, has_ended=True)), names, groups)


def _shown(metric: str, record: Record) -> float:
    return record.metrics[metric] * (100 if metric_named(metric).is_share else 1)


def _important(snapshot: Snapshot) -> list[Record]:
    """Return the best trial and the baselines that have reported, each with its first seed."""
    baselines = [
        record
        for record in snapshot.records
        if record.run.kind == "baseline" and record.run.number < len(snapshot.space.baselines) and record.metrics
    ]
    return ([] if snapshot.best is None else [snapshot.best]) + baselines


def _render_examples(
    snapshot: Snapshot, records: Sequence[Record], drawn: Pictures, device: str | None = None
) -> dict[str, Examples]:
    """Return attacked images of runs by their keys; what cannot be rendered is noted as missing."""
    from trainables.errors import CheckpointError
    from trainables.judging import examples

    seen: dict[str, Examples] = {}
    if not records:
        return seen
    try:
        snapshot.sweep.provide_code()
        dataset = examples.load_run_dataset(
            records[0].run.settings, Path(snapshot.sweep.data) if snapshot.sweep.data else None, device
        )
    except UserError as error:
        drawn.missing.append(f"images under attack and accuracy by epsilon: {error}")
        return seen
    for record in records:
        try:
            seen[record.run.key] = examples.render_examples(
                record.run.settings,
                snapshot.sweep.last_checkpoint(record),
                dataset,
                num_threads=num_threads(snapshot.space.resources.cpu),
                code=training_code()["sha256"],
            )
        except CheckpointError as error:
            drawn.missing.append(f"images under attack and accuracy by epsilon of {record.run.key}: {error}")
    return seen


def _draw_one(snapshot: Snapshot, record: Record, seen: Examples | None, folder: Path, drawn: Pictures) -> None:
    from tuner.results.pictures import figures as pictures

    run = record.run
    who = f"{run.key} ({run.label})"
    images = _images(run.settings, has_ended=record.state == "complete")
    generator_loss = run.settings.get("generator", {}).get("loss")
    figure = pictures.training(_title(snapshot, images, who), snapshot.rows[run.key], generator_loss)
    drawn.add(run.key, figure, folder / "training.png")
    if seen is not None:
        about = f"{len(seen.labels)} validation images, each with the predicted label and its probability"
        drawn.add(run.key, pictures.examples(_title(snapshot, about, who), seen), folder / "examples.png")
    if seen is not None and seen.success is not None:
        title = _title(snapshot, f"{seen.num_images} validation images under the generator", who)
        drawn.add(run.key, pictures.success(title, seen.success, seen.classes), folder / "success.png")


def _draw_by_epsilon(
    snapshot: Snapshot,
    records: Sequence[Record],
    seen: dict[str, Examples],
    folder: Path,
    drawn: Pictures,
) -> None:
    if not seen:
        return
    from trainables.evaluation.epsilon_curve import STEPS
    from tuner.results.pictures import figures as pictures

    curves = {
        _name(snapshot, record): seen[record.run.key].accuracy_by_epsilon
        for record in records
        if record.run.key in seen
    }
    num_attacked = next(iter(seen.values())).num_images
    title = f"{snapshot.name}\n{snapshot.space.dataset.name}, {num_attacked} validation images, PGD with {STEPS} steps"
    evaluation = snapshot.space.evaluation
    figure = pictures.by_epsilon(title, curves, evaluation.epsilon, num_attacked, evaluation.norm)
    drawn.add(SWEEP, figure, folder / "accuracy_by_epsilon.png")


def _images(settings: dict[str, Any], *, has_ended: bool) -> str:
    watched = f"{num_images(settings, ranked=False)} validation images"
    return f"{watched}, {num_images(settings, ranked=True)} at the end" if has_ended else watched


def _name(snapshot: Snapshot, record: Record) -> str:
    if record.run.kind == "baseline":
        return record.run.name
    is_best = snapshot.best is not None and record.run.key == snapshot.best.run.key
    return f"best trial: {record.run.label}" if is_best else f"{record.run.key}: {record.run.label}"


def _title(snapshot: Snapshot, images: str, who: str = "") -> str:
    epsilon = snapshot.space.evaluation.epsilon
    return f"{' '.join((snapshot.name, who)).strip()}\n{snapshot.space.dataset.name}, epsilon {epsilon:g}, {images}"


def save_figure(figure: Figure, target: Path) -> Path:
    """Write a figure as a PNG, which appears whole or not at all, and return its path."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    write_whole(target, content.getvalue())
    return target
