"""Trains the configuration of a bundle again and compares the result with it, weight by weight and number by number."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.evaluation.metrics import GPU_SHARE
from tuner.execution.single import OnReport, train_to_end
from tuner.results.bundles.record import BundleRecord, read_bundle_record
from tuner.sweep.provenance import processor, training_code, versions

TOLERANCE = 0.05
"""Of every accuracy on another machine or with other code, where training rounds otherwise, as if with another seed."""


@dataclass(frozen=True)
class Reproduction:
    """A bundle's classifier beside the one that its configuration gave when it was trained again.

    Attributes:
        bundle: folder of the bundle.
        has_equal_weights: whether every weight is equal, bit for bit.
        largest_difference: between two weights.
        metrics: the numbers that differ, by name: the recorded one and the new one.
        elsewhere: what was another machine or other software then, each as a phrase.
    """

    bundle: str
    has_equal_weights: bool
    largest_difference: float
    metrics: dict[str, tuple[float, float]]
    elsewhere: list[str]

    @property
    def is_equal(self) -> bool:
        """Whether every weight and every number is equal."""
        return self.has_equal_weights and not self.metrics

    @property
    def holds(self) -> bool:
        """Whether the result is equal, or trained elsewhere and no accuracy is off by more than `TOLERANCE`."""
        return self.is_equal or (bool(self.elsewhere) and self.largest_change <= TOLERANCE)

    @property
    def largest_change(self) -> float:
        """The largest difference of two accuracies."""
        return max((abs(before - now) for before, now in self.metrics.values()), default=0.0)

    def sentences(self) -> list[str]:
        """Return in words what is equal, what differs, and whether that was to be expected."""
        if self.is_equal:
            return [f"{self.bundle}: trained again, every weight and every recorded number is equal"]
        equal = "its weights are equal" if self.has_equal_weights else "its weights differ"
        by = "" if self.has_equal_weights else f" by up to {self.largest_difference:.2g}"
        said = [f"{self.bundle}: trained again, {equal}{by}."]
        said += [
            f"{name}: {100 * before:.1f} % is recorded, {100 * now:.1f} % came out"
            for name, (before, now) in self.metrics.items()
        ]
        if not self.elsewhere:
            return [*said, "It was trained with this code on a processor like this one, so it should be equal."]
        verdict = "That is within" if self.holds else "That is more than"
        return [
            *said,
            f"It was trained elsewhere: {'; '.join(self.elsewhere)}. There, training rounds otherwise. {verdict} "
            f"{100 * TOLERANCE:.0f} points of every accuracy, which are allowed for that.",
        ]


def reproduce(folder: Path, data: Path | None, report: OnReport) -> Reproduction:
    """Train the configuration of a bundle again, with its seed and its number of threads.

    Args:
        folder: of the bundle, in which nothing is changed.
        data: folder of the dataset's files; by default they are fetched.
        report: is told the metrics of every step.

    Raises:
        UserError: the folder is no bundle, a file was changed, or the bundle's code may not run here.
        DataError: the dataset cannot be had.
    """
    from trainables.evaluation.metrics import accuracies
    from trainables.networks.bundle import compare_weights, read_bundle
    from trainables.storage.bundle_files import CONFIGURATION, MAX_JSON_BYTES, read_checked

    record = read_bundle_record(folder)
    _, classifier = read_bundle(folder)
    settings = json.loads(read_checked(folder, CONFIGURATION, MAX_JSON_BYTES))
    threads = min(record.num_threads, os.cpu_count() or 1)
    weights, metrics = train_to_end(settings, data, threads, report)
    has_equal_weights, largest_difference = compare_weights(classifier.state_dict(), weights)
    shown = {metric.name for metric in accuracies("all", metrics)} & record.metrics.keys() & metrics.keys()
    return Reproduction(
        bundle=str(folder),
        has_equal_weights=has_equal_weights,
        largest_difference=largest_difference,
        metrics={
            name: (record.metrics[name], metrics[name])
            for name in sorted(shown)
            if record.metrics[name] != metrics[name]
        },
        elsewhere=list(_elsewhere(record, threads)),
    )


def _elsewhere(record: BundleRecord, threads: int) -> Iterator[str]:
    """Yield what was another machine or other software when a bundle was made, each as a phrase."""
    unknown, torch = "not recorded", versions()["torch"]
    if GPU_SHARE in record.metrics:
        yield "it was trained on a GPU, and here on processors"
    if record.processor != processor():
        yield f"the processor was {record.processor or unknown}"
    if record.torch != torch:
        yield f"torch was {record.torch or unknown}, and is {torch} here"
    if record.code != training_code()["sha256"]:
        yield "the code that trains was another"
    if record.num_threads != threads:
        yield f"it had {record.num_threads} threads, and {threads} here"
