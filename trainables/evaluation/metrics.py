"""The table of metrics: every number that a training run or an evaluation reports, by its name. No torch here.

One name is one measurement. While a run trains, at every report, it is measured by the weaker attacks of the tier
`watch` on a few images: ``watch/robust``, ``watch/pgd``. At its end it is measured by the stronger attacks of the tier
`rank` on more of them: ``robust``, ``pgd``. The two are never compared with each other.

The accuracies follow from the tiers, so a new row in a tier is a new metric. Whoever names, checks or shows metrics
(space files, tables, figures, MLflow, the live view) asks this table, which follows every change of the tiers.
`earlier_names` has the names of earlier releases.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from trainables.config.attacks import OWN
from trainables.config.plugins.registries import ATTACKS
from trainables.evaluation import tiers
from trainables.evaluation.checks import CHECKS, MASKING_FAILURES, metric_of
from trainables.evaluation.tiers import Detail

Unit = Literal["share", "epochs", "s", "count", "1"]
"""``share`` is a part of the images in [0, 1] and shown in percent; ``epochs`` are those of standard training."""

TIME = "time"
"""When a report was written, in Unix seconds. It stands beside the metrics of a report and is none of them."""

SATURATION, PRE_ACTIVATION = "generator/saturation", "generator/pre_activation"
"""Share of a generator's outputs in the flat parts of its tanh, and their mean size before it."""

GPU_SHARE, PACK, MEMORY_RETRIES = "gpu_share", "pack", "memory_retries"
"""What a run occupies of a GPU, which runs on processors do not report; how many runs its pack has places for, which
only runs of packs on GPUs report; and how often it was begun again with a larger share because memory ran out, which
others do not report."""

MAX_SATURATION, MAX_LEAD_OF_FGSM = 0.45, 0.1
"""A generator with a larger share is saturated, and hardly learns if FGSM takes so much more of the accuracy than it
does. A saturated one can be as strong as FGSM: full steps along the gradient are in the flat parts of the tanh, too."""

Group = Literal["accuracy", "watch", "loss", "masking", "cost", "progress", "generator", "other"]
"""What a metric is about; MLflow shows the metrics of a group together. Those of `watch` are accuracies, too."""

WATCH = "watch/"
"""What the name of a metric begins with that is measured on the few images of the tier `watch`."""

_DETAILS: tuple[Detail, ...] = ("overview", "comparison", "all")


@dataclass(frozen=True)
class Metric:
    """One number that runs report.

    Attributes:
        name: its key in a report, in files and in space files.
        label: its heading in tables.
        unit: of the value.
        better: the direction in which a classifier gets better; None if neither is.
        group: what it is about.
        note: what a figure's legend adds to the label.
        shown_in: the least detailed tables and figures of accuracies that have it; None for none of them.
        objective: whether a search space can name it as an objective. Every run of every recipe ends with it.
        every_report: whether the reports before a run's last one have it, too.
        short: its name within its group in MLflow; by default its name.
    """

    name: str
    label: str
    unit: Unit
    better: Literal["max", "min"] | None = None
    group: Group = "other"
    note: str = ""
    shown_in: Detail | None = None
    objective: bool = False
    every_report: bool = True
    short: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it is a share of the images, which is shown in percent."""
        return self.unit == "share"

    @property
    def words(self) -> str:
        """What a sentence calls it: ``robust accuracy``, ``compute``."""
        is_accuracy = self.group in ("accuracy", "watch") and self.better == "max"
        return f"{self.label} accuracy" if is_accuracy else self.label

    @property
    def mlflow_name(self) -> str:
        """Its name in MLflow, which groups charts by what stands before the slash: ``accuracy/robust``."""
        return self.name if self.name.startswith(f"{self.group}/") else f"{self.group}/{self.short or self.name}"


_CLEAN = Metric("clean", "clean", "share", "max", "accuracy", shown_in="overview", objective=True, every_report=False)
_ROBUST = Metric(
    "robust",
    "robust",
    "share",
    "max",
    "accuracy",
    note="worst of all attacks",
    shown_in="overview",
    objective=True,
    every_report=False,
)
_OTHERS = (
    Metric("compute", "compute", "epochs", "min", "cost", objective=True),
    Metric("train_s", "training", "s", "min", "cost"),
    Metric("evaluation_s", "evaluation", "s", "min", "cost"),
    Metric(GPU_SHARE, "share of a GPU", "1", group="cost"),
    Metric(PACK, "places in its pack", "count", group="cost"),
    Metric(MEMORY_RETRIES, "tries with too little GPU memory", "count", group="cost"),
    Metric("step", "report", "count", group="progress"),
    Metric("cycle", "cycle", "count", group="progress"),
    Metric("ratio", "ratio", "1", group="progress"),
    Metric("classifier_loss", "classifier loss", "1", "min", "loss", short="classifier"),
    Metric("generator_loss", "generator loss", "1", group="loss", short="generator"),
    Metric("watch/generator", "watch generator", "share", "max", "watch"),
    Metric("watch/generator_success", "watch success of the generator", "share", "min", "watch"),
    Metric(SATURATION, "saturation of the generator", "share", "min", "generator"),
    Metric(PRE_ACTIVATION, "generator before its tanh", "1", group="generator"),
    Metric("white_box", "white box", "share", "max", "accuracy", every_report=False),
    Metric("black_box", "black box", "share", "max", "accuracy", every_report=False),
    Metric("square", "Square", "share", "max", "accuracy", every_report=False),
    Metric("gradient_cosine", "gradient cosine", "1", "max", "masking", every_report=False),
    Metric("zero_gradients", "zero gradients", "share", "min", "masking", every_report=False),
    Metric("large_epsilon", "large epsilon", "share", None, "masking", every_report=False),
    Metric(MASKING_FAILURES, "masking failures", "count", "min", "masking", every_report=False, short="failures"),
)


def all_metrics() -> Mapping[str, Metric]:
    """Return every metric by its name: the accuracies in the order of their columns, then the others.

    Raises:
        ValueError: two have one name, or two attacks of a tier; the message says which.
    """
    rows = tuple((tier, tuple(map(_in_the_table, attacks))) for tier, attacks in tiers.TIERS.items())
    names = tuple(metric.name for metric in _OTHERS)
    return _make_table((rows, tuple(entry.name for entry in ATTACKS.usable()), names))


def _in_the_table(row: tiers.AttackRow) -> tuple[str, str, Detail, bool]:
    """Return what the table takes of an attack."""
    return row.name, row.label, row.shown_in, row.survivors_only


@lru_cache(maxsize=1)
def _make_table(made_from: Hashable) -> Mapping[str, Metric]:
    """Make the table; every report asks for it, so it is kept for as long as what it is made from stays the same."""
    tiers.check_tiers(tiers.TIERS)
    table: dict[str, Metric] = {}
    attacks, watched = list(_of_attacks("rank")), [_CLEAN, *_of_attacks("watch"), _ROBUST]
    others = [*_of_benchmark(), _ROBUST, *map(_watched, watched), *_OTHERS, *_of_checks()]
    for metric in (_CLEAN, *attacks, *_of_plugins([_CLEAN, *attacks, *others]), *others):
        if metric.name in table:
            labels = f"{table[metric.name].label!r} and {metric.label!r}"
            raise ValueError(f"names of metrics must be unique: {metric.name!r} names both {labels}")
        table[metric.name] = metric
    return MappingProxyType(table)


def metric_named(name: str) -> Metric:
    """Return a metric by its name; of one that is not in the table any more, or not yet, what its name says."""
    return _metric_of(name, all_metrics())


def mlflow_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names of metrics in MLflow by their names in reports."""
    table = all_metrics()
    return {name: _metric_of(name, table).mlflow_name for name in names}


def _metric_of(name: str, table: Mapping[str, Metric]) -> Metric:
    if name in table:
        return table[name]
    label = name.replace("/", " ").replace("_", " ")
    if name.startswith(WATCH):
        return Metric(name, label, "share", "max", "watch")
    if name.startswith(OWN):
        return replace(_of_attack(name, label, "all"), objective=False)
    if is_earlier_accuracy(name):
        return Metric(name, label.removesuffix(" accuracy"), "share", "max", "accuracy", every_report=False)
    return Metric(name, label, "1", every_report=False)


def fgsm_at(epsilon: float) -> str:
    """Return the name of the accuracy under FGSM at one of the further radii of a space: ``watch/fgsm_at_0.1``."""
    return f"{WATCH}fgsm_at_{epsilon:g}"


def is_earlier_accuracy(name: str) -> bool:
    """Return whether a metric is an accuracy by its name in earlier releases: ``<attack>_accuracy``."""
    return name.endswith("_accuracy")


def accuracies(detail: Detail, measured: Iterable[str] = ()) -> list[Metric]:
    """Return the accuracies at a run's end that tables and figures have, in the order of their columns.

    Clean accuracy comes first, then the attacks in the order of the tier `rank`, and robust accuracy last.

    Args:
        detail: how much is shown.
        measured: names of what was measured; attacks of installed packages and of a user's own are shown if they are
            among them, before robust accuracy.
    """
    of_packages = {entry.name for entry in ATTACKS.usable()}
    *shown, robust = [metric for metric in _shown(detail, "accuracy") if metric.name not in of_packages]
    further = [metric_named(name) for name in measured if name in of_packages or name.startswith(OWN)]
    return [*shown, *(metric for metric in further if metric.group == "accuracy"), robust]


def watched_accuracies(detail: Detail) -> list[Metric]:
    """Return the accuracies at every report that tables and figures have, likewise in order of the tier `watch`."""
    return _shown(detail, "watch")


def _shown(detail: Detail, group: Group) -> list[Metric]:
    shown = _DETAILS[: _DETAILS.index(detail) + 1]
    return [metric for metric in all_metrics().values() if metric.shown_in in shown and metric.group == group]


def objectives() -> list[Metric]:
    """Return the metrics that a search space can name as an objective."""
    return [metric for metric in all_metrics().values() if metric.objective]


def constraints() -> list[Metric]:
    """Return the metrics that a search space can bound: the accuracies, since compute is bounded by the budget."""
    return [metric for metric in objectives() if metric.is_share]


def reported_metric(name: str) -> Metric | None:
    """Return what stands for a metric while a run trains: the metric itself if every report has it, or its watch value.

    Args:
        name: of the metric.

    Returns:
        The metric that every report has; None if there is none.
    """
    table = all_metrics()
    metric = table.get(name)
    return metric if metric is not None and metric.every_report else table.get(WATCH + name)


def is_accuracy(name: str) -> bool:
    """Return whether a metric is an accuracy at a run's end, or of an evaluation."""
    return metric_named(name).group == "accuracy"


def accuracy_of(attack: str, tier: str = "rank") -> str:
    """Return the name of the metric of an attack, of ``clean`` or of ``robust``, as measured by a tier."""
    return WATCH + attack if tier == "watch" else attack


def _of_attacks(tier: str) -> Iterator[Metric]:
    """Yield the metric of every attack of a tier on all images."""
    for row in tiers.TIERS[tier]:
        if not row.survivors_only:
            yield _of_attack(row.name, row.label, row.shown_in)


def _of_plugins(taken: Iterable[Metric]) -> Iterator[Metric]:
    """Yield the metric of every attack of an installed package; none takes the place of another metric."""
    names = {metric.name for metric in taken}
    for entry in ATTACKS.usable():
        if entry.name not in names:
            yield _of_attack(entry.name, entry.name.replace("_", " "), "all")


def _of_attack(name: str, label: str, shown_in: Detail) -> Metric:
    return Metric(name, label, "share", "max", "accuracy", shown_in=shown_in, objective=True, every_report=False)


def _of_benchmark() -> Iterator[Metric]:
    yield Metric(tiers.BENCHMARK.name, tiers.BENCHMARK.label, "share", "max", "accuracy", every_report=False)


def _watched(metric: Metric) -> Metric:
    """Return the metric of the same attack, measured while a run trains."""
    name, label = WATCH + metric.name, f"watch {metric.label}"
    return replace(metric, name=name, label=label, group="watch", objective=False, every_report=True)


def _of_checks() -> Iterator[Metric]:
    for check in CHECKS:
        label = f"masking: {check.replace('_', ' ')}"
        yield Metric(metric_of(check), label, "count", "min", "masking", every_report=False, short=f"failed_{check}")


all_metrics()  # so that a name that is used twice is an error as soon as this is imported


def memory_warning(metrics: Mapping[str, float]) -> str:
    """Return a sentence if a run was begun again because its share of a GPU had too little memory, else nothing."""
    retries = int(metrics.get(MEMORY_RETRIES, 0))
    if not retries:
        return ""
    times = "once" if retries == 1 else f"{retries} times"
    return f"ran out of GPU memory {times}; it was trained with {metrics.get(GPU_SHARE, 1.0):g} of a GPU"


def saturation_warning(metrics: Mapping[str, float]) -> str | None:
    """Return what a report says of a generator that is saturated and weaker than FGSM; None if it is not, or none."""
    share = metrics.get(SATURATION, 0.0)
    lead = metrics.get("watch/generator", 1.0) - metrics.get("watch/fgsm", 0.0)
    if share <= MAX_SATURATION or lead <= MAX_LEAD_OF_FGSM:
        return None
    return (
        f"the generator is saturated: {100 * share:.0f} % of its outputs are in the flat parts of its tanh, where it "
        f"hardly learns, and FGSM takes {100 * lead:.0f} points more of the accuracy than it does; give it a larger "
        "generator.saturation_penalty, a smaller output_scale or a shorter warmup"
    )
