"""Pictures of a sweep and of its runs, from the sweep's folder alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import DataError
from trainables.evaluation.metrics import metric_named
from trainables.storage.atomic import whole_folder, write_whole
from tuner.errors import UserError
from tuner.results.export import num_threads
from tuner.results.selection import choose
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best, eligible, front
from tuner.sweep.reader import read_records
from tuner.sweep.runs import SWEEP, Record, num_images, read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trainables.judging.examples import Examples


_DPI = 110


@dataclass
class Drawn:
    """PNG files by the key of the run that they show (`SWEEP` for the sweep itself), and why others are missing."""

    files: dict[str, list[Path]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, key: str, figure: Figure, target: Path) -> None:
        """Write a figure and remember it."""
        self.files.setdefault(key, []).append(save(figure, target))


def draw(sweep: SweepFolder, target: Path) -> Path | None:
    """Draw accuracy by compute of the best trial and the baselines, all other trials in grey; None if there is nothing.

    With several objectives, the front is drawn once a trial can be on it.

    Args:
        sweep: whose runs are drawn.
        target: the PNG to write.
    """
    records = read_records(sweep)
    if _has_front(sweep, records):
        return save(_front(sweep), target)
    return _draw_by_compute(sweep, records, target)


def _draw_by_compute(sweep: SweepFolder, records: list[Record], target: Path) -> Path | None:
    from tuner.results import figures as pictures

    if not any(record.metrics for record in records):
        return None
    winner = best(records, sweep.space.objective.mode)
    named = _important(sweep, records, winner)
    rows = {_name(record, winner): read_metrics(record.run.folder) for record in named}
    others = [read_metrics(record.run.folder) for record in records if record not in named]
    title = _title(sweep, _images(records[0].run.settings, has_ended=True))
    return save(pictures.comparison(title, rows, others), target)


def write_pictures(sweep: SweepFolder, target: Path | None = None, key: str | None = None) -> tuple[Path, list[str]]:
    """Write the pictures of a run; return their folder, which appears whole or not at all, and what is missing in it.

    Args:
        sweep: where the run is.
        target: the folder to make; by default ``pictures/<sweep>-<run>`` right here.
        key: of the run (``trial-0003``, ``3``, ``fgsm_retraining``); by default the best trial.

    Raises:
        UserError: there is no such run, it has not ended or not reported, the folder is there already or cannot be
            written.
    """
    record = choose(sweep, key, ("complete", "pruned", "failed"))
    if not record.metrics:
        raise UserError(f"{record.run.key} of {sweep.name!r} {record.state} before it reported: nothing can be drawn")
    target = (target or Path("pictures") / f"{sweep.name}-{record.run.key}").absolute()
    if target.exists():
        raise UserError(f"{target} is there already: remove it or choose another --output")
    try:
        with whole_folder(target) as folder:
            drawn = draw_run(sweep, record, folder)
    except OSError as error:
        raise UserError(f"cannot draw {record.run.key} into {target}: {error}; choose another --output") from error
    return target, drawn.missing


def draw_run(sweep: SweepFolder, record: Record, folder: Path) -> Drawn:
    """Draw a run as the paper shows its own, and its accuracy by epsilon beside the best trial's and the baselines'.

    What needs a checkpoint that is not there is left out and said so.

    Args:
        sweep: that the run belongs to.
        record: a run that has reported.
        folder: where the PNGs go; it is there.
    """
    records = read_records(sweep)
    winner = best(records, sweep.space.objective.mode)
    important = [other for other in _important(sweep, records, winner) if other.run.key != record.run.key]
    drawn = Drawn()
    seen = _look(sweep, [record, *important], drawn)
    _draw_one(sweep, record, seen.get(record.run.key), folder, drawn)
    _draw_by_epsilon(sweep, [record, *important], winner, seen, folder, drawn)
    return drawn


def draw_sweep(sweep: SweepFolder, folder: Path, *, with_runs: bool = True) -> Drawn:
    """Draw a sweep, and its best trial and its baselines, each in a folder of its own.

    Args:
        sweep: whose runs are drawn.
        folder: where the PNGs go; it is there.
        with_runs: draw what needs trained classifiers, too; it takes seconds for each run.
    """
    drawn = Drawn()
    records = read_records(sweep)
    comparison = _draw_by_compute(sweep, records, folder / "comparison.png")
    if comparison is not None:
        drawn.files[SWEEP] = [comparison]
    if _has_front(sweep, records):
        drawn.add(SWEEP, _front(sweep), folder / "front.png")
    if not with_runs:
        return drawn
    winner = best(records, sweep.space.objective.mode)
    important = _important(sweep, records, winner)
    seen = _look(sweep, important, drawn)
    for record in important:
        (folder / record.run.key).mkdir()
        _draw_one(sweep, record, seen.get(record.run.key), folder / record.run.key, drawn)
    _draw_by_epsilon(sweep, important, winner, seen, folder, drawn)
    return drawn


def _has_front(sweep: SweepFolder, records: list[Record]) -> bool:
    return len(sweep.space.objectives) > 1 and bool(eligible(records))


def _front(sweep: SweepFolder) -> Figure:
    """Draw the first objective by the second: the front, the other trials that ran to the end, the baselines."""
    from tuner.results import figures as pictures

    along_y, along_x = sweep.space.objectives[:2]

    def points(chosen: Sequence[Record]) -> list[tuple[float, float]]:
        return [(_shown(along_x.metric, one), _shown(along_y.metric, one)) for one in chosen]

    whole = [record for record in read_records(sweep) if record.state == "complete"]
    standing = front(whole, sweep.space.objectives[:2])
    others = [record for record in whole if record.run.kind == "trial" and record not in standing]
    baselines = {_name(one, None): points([one]) for one in whole if one.run.kind == "baseline"}
    groups = {"front": points(standing), "other trials": points(others), **baselines}
    names = (along_x.metric.replace("_", " "), along_y.metric.replace("_", " "))
    return pictures.front(_title(sweep, _images(whole[0].run.settings, has_ended=True)), names, groups)


def _shown(metric: str, record: Record) -> float:
    return record.metrics[metric] * (100 if metric_named(metric).is_share else 1)


def _important(sweep: SweepFolder, records: list[Record], winner: Record | None) -> list[Record]:
    """Return the best trial and the baselines that have reported, each with its first seed."""
    baselines = [
        record
        for record in records
        if record.run.kind == "baseline" and record.run.number < len(sweep.space.baselines) and record.metrics
    ]
    return ([] if winner is None else [winner]) + baselines


def _look(sweep: SweepFolder, records: Sequence[Record], drawn: Drawn) -> dict[str, Examples]:
    """Return what can be seen of runs by their keys; what cannot is said."""
    from trainables.errors import CheckpointError
    from trainables.judging import examples

    seen: dict[str, Examples] = {}
    if not records:
        return seen
    try:
        dataset = examples.load_run_dataset(records[0].run.settings, Path(sweep.data) if sweep.data else None)
    except DataError as error:
        drawn.missing.append(f"images under attack and accuracy by epsilon: {error}")
        return seen
    for record in records:
        try:
            seen[record.run.key] = examples.render_examples(
                record.run.settings,
                sweep.fetch_checkpoints(record.run.folder),
                dataset,
                num_threads=num_threads(sweep.space.resources.cpu),
            )
        except CheckpointError as error:
            drawn.missing.append(f"images under attack and accuracy by epsilon of {record.run.key}: {error}")
    return seen


def _draw_one(sweep: SweepFolder, record: Record, seen: Examples | None, folder: Path, drawn: Drawn) -> None:
    from tuner.results import figures as pictures

    run = record.run
    who = f"{run.key} ({run.label})"
    images = _images(run.settings, has_ended=record.state == "complete")
    generator_loss = run.settings.get("generator", {}).get("loss")
    figure = pictures.training(_title(sweep, images, who), read_metrics(run.folder), generator_loss)
    drawn.add(run.key, figure, folder / "training.png")
    if seen is not None:
        about = f"{len(seen.labels)} validation images, each with the predicted label and its probability"
        drawn.add(run.key, pictures.examples(_title(sweep, about, who), seen), folder / "examples.png")
    if seen is not None and seen.success is not None:
        title = _title(sweep, f"{seen.num_images} validation images under the generator", who)
        drawn.add(run.key, pictures.success(title, seen.success), folder / "success.png")


def _draw_by_epsilon(
    sweep: SweepFolder,
    records: Sequence[Record],
    winner: Record | None,
    seen: dict[str, Examples],
    folder: Path,
    drawn: Drawn,
) -> None:
    if not seen:
        return
    from trainables.evaluation.epsilon_curve import STEPS
    from tuner.results import figures as pictures

    curves = {
        _name(record, winner): seen[record.run.key].accuracy_by_epsilon for record in records if record.run.key in seen
    }
    num_attacked = next(iter(seen.values())).num_images
    title = f"{sweep.name}\n{sweep.space.dataset.name}, {num_attacked} validation images, PGD with {STEPS} steps"
    figure = pictures.by_epsilon(title, curves, sweep.space.evaluation.epsilon, num_attacked)
    drawn.add(SWEEP, figure, folder / "accuracy_by_epsilon.png")


def _images(settings: dict[str, Any], *, has_ended: bool) -> str:
    watched = f"{num_images(settings, ranked=False)} validation images"
    return f"{watched}, {num_images(settings, ranked=True)} at the end" if has_ended else watched


def _name(record: Record, winner: Record | None) -> str:
    if record.run.kind == "baseline":
        return record.run.name
    is_best = winner is not None and record.run.key == winner.run.key
    return f"best trial: {record.run.label}" if is_best else f"{record.run.key}: {record.run.label}"


def _title(sweep: SweepFolder, images: str, who: str = "") -> str:
    epsilon = sweep.space.evaluation.epsilon
    return f"{' '.join((sweep.name, who)).strip()}\n{sweep.space.dataset.name}, epsilon {epsilon:g}, {images}"


def save(figure: Figure, target: Path) -> Path:
    """Write a figure as a PNG, which appears whole or not at all, and return its path."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    write_whole(target, content.getvalue())
    return target
