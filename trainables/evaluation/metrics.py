"""The table of metrics: every number that a training run or an evaluation reports, by its name. No torch here.

The accuracies follow from the tiers, so a new row in a tier is a new metric. Whoever names, checks or shows metrics
(space files, tables, figures, MLflow, the live view) asks this table; nothing is kept from one call to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from trainables.evaluation import tiers
from trainables.evaluation.checks import CHECKS, MASKING_FAILURES, metric_of
from trainables.evaluation.tiers import Detail

Unit = Literal["share", "epochs", "s", "count", "1"]
"""``share`` is a part of the images in [0, 1] and shown in percent; ``epochs`` are those of standard training."""

TIME = "time"
"""When a report was written, in Unix seconds. It stands beside the metrics of a report and is none of them."""

SATURATION, PRE_ACTIVATION = "generator/saturation", "generator/pre_activation"
"""Share of a generator's outputs in the flat parts of its tanh, and their mean size before it."""

MAX_SATURATION = 0.45
"""A generator with a larger share is saturated. In runs that went well it was 0.2 to 0.3."""

_SUFFIX = "_accuracy"
_DETAILS: tuple[Detail, ...] = ("overview", "comparison", "all")


@dataclass(frozen=True)
class Metric:
    """One number that runs report.

    Attributes:
        name: its key in a report, in files and in MLflow.
        label: its heading in tables.
        unit: of the value.
        better: the direction in which a classifier gets better; None if neither is.
        note: what a figure's legend adds to the label.
        shown_in: the least detailed tables and figures of accuracies that have it; None for none of them.
        objective: whether a search space can name it as an objective. Every run of every recipe ends with it.
        every_report: whether the reports before a run's last one have it, too.
    """

    name: str
    label: str
    unit: Unit
    better: Literal["max", "min"] | None = None
    note: str = ""
    shown_in: Detail | None = None
    objective: bool = False
    every_report: bool = True

    @property
    def is_share(self) -> bool:
        """Whether it is a share of the images, which is shown in percent."""
        return self.unit == "share"


_CLEAN = Metric("clean_accuracy", "clean", "share", "max", shown_in="overview", objective=True)
_ROBUST = Metric(
    "robust_accuracy", "robust", "share", "max", note="worst of all attacks", shown_in="overview", objective=True
)
_OTHERS = (
    Metric("compute", "compute", "epochs", "min", objective=True),
    Metric("step", "report", "count"),
    Metric("train_s", "training", "s", "min"),
    Metric("evaluation_s", "evaluation", "s", "min"),
    Metric("classifier_loss", "classifier loss", "1", "min"),
    Metric("generator_loss", "generator loss", "1"),
    Metric("cycle", "cycle", "count"),
    Metric("ratio", "ratio", "1"),
    Metric("generator_accuracy", "accuracy under the generator", "share", "max"),
    Metric("generator_success", "success of the generator", "share", "min"),
    Metric(SATURATION, "saturation of the generator", "share", "min"),
    Metric(PRE_ACTIVATION, "generator before its tanh", "1"),
    Metric("white_box_accuracy", "white box", "share", "max", every_report=False),
    Metric("black_box_accuracy", "black box", "share", "max", every_report=False),
    Metric("square_accuracy", "Square", "share", "max", every_report=False),
    Metric("gradient_cosine", "gradient cosine", "1", "max", every_report=False),
    Metric("zero_gradients", "zero gradients", "share", "min", every_report=False),
    Metric("large_epsilon_accuracy", "large epsilon", "share", every_report=False),
    Metric(MASKING_FAILURES, "masking failures", "count", "min", every_report=False),
)


def all_metrics() -> dict[str, Metric]:
    """Return every metric by its name: the accuracies in the order of their columns, then the others.

    Raises:
        ValueError: two have one name, or two attacks of a tier; the message says which.
    """
    tiers.check_tiers(tiers.TIERS)
    table: dict[str, Metric] = {}
    for metric in (_CLEAN, *_of_attacks(), _ROBUST, *_OTHERS, *_of_checks()):
        if metric.name in table:
            labels = f"{table[metric.name].label!r} and {metric.label!r}"
            raise ValueError(f"names of metrics must be unique: {metric.name!r} names both {labels}")
        table[metric.name] = metric
    return table


def metric_named(name: str) -> Metric:
    """Return a metric by its name; of an attack that is in no tier any more, or in none yet, what its name says."""
    known = all_metrics().get(name)
    if known is not None:
        return known
    label = name.removesuffix(_SUFFIX).replace("_", " ")
    if is_accuracy(name):
        return Metric(name, label, "share", "max", every_report=False)
    return Metric(name, label, "1", every_report=False)


def accuracies(detail: Detail) -> list[Metric]:
    """Return the accuracies that tables and figures of a level of detail have, in the order of their columns.

    Clean accuracy comes first, then the attacks in the order of the tier `rank`, and robust accuracy last.
    """
    shown = _DETAILS[: _DETAILS.index(detail) + 1]
    return [metric for metric in all_metrics().values() if metric.shown_in in shown]


def objectives() -> list[Metric]:
    """Return the metrics that a search space can name as an objective."""
    return [metric for metric in all_metrics().values() if metric.objective]


def constraints() -> list[Metric]:
    """Return the metrics that a search space can bound: the accuracies, since compute is bounded by the budget."""
    return [metric for metric in objectives() if metric.is_share]


def reported_constraints() -> list[Metric]:
    """Return those `constraints` that every report has: what trials can be compared by while they train."""
    return [metric for metric in constraints() if metric.every_report]


def is_accuracy(name: str) -> bool:
    """Return whether a metric is an accuracy, of any attack whatever: its name says so."""
    return name.endswith(_SUFFIX)


def accuracy_of(attack: str) -> str:
    """Return the name of the metric of an attack, of ``clean`` or of ``robust``."""
    return attack + _SUFFIX


def _of_attacks() -> Iterator[Metric]:
    """Yield the metric of every attack on all images: those of the tier `rank`, of other tiers, and the benchmark."""
    by_tier = {tier: {row.name: row for row in rows if not row.survivors_only} for tier, rows in tiers.TIERS.items()}
    ranked = by_tier["rank"]
    elsewhere = {name: row for rows in by_tier.values() for name, row in rows.items() if name not in ranked}
    for name, row in {**ranked, **elsewhere}.items():
        yield Metric(
            accuracy_of(name),
            row.label,
            "share",
            "max",
            shown_in=row.shown_in,
            objective=name in ranked,
            every_report=all(name in rows for rows in by_tier.values()),
        )
    yield Metric(accuracy_of(tiers.BENCHMARK.name), tiers.BENCHMARK.label, "share", "max", every_report=False)


def _of_checks() -> Iterator[Metric]:
    for check in CHECKS:
        yield Metric(metric_of(check), f"masking: {check.replace('_', ' ')}", "count", "min", every_report=False)


all_metrics()  # so that a name that is used twice is an error as soon as this is imported


def saturation_warning(metrics: Mapping[str, float]) -> str | None:
    """Return what a report says of a saturated generator; None if the run has none or it is not saturated."""
    share = metrics.get(SATURATION, 0.0)
    if share <= MAX_SATURATION:
        return None
    return (
        f"the generator is saturated: {100 * share:.0f} % of its outputs are in the flat parts of its tanh, so it "
        "hardly learns; give it a larger generator.saturation_penalty, a smaller output_scale or a shorter warmup"
    )
