"""Checks a bundle: every file against its checksum, and every recorded number by measuring it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trainables.errors import UserError
from tuner.results.bundles.record import BundleRecord, read_bundle_record

_MAX_DIFFERENCE = 1e-4
"""Of logits of ``model.pt2`` and of the weights, which may be added up in another order."""


def verify_bundle(folder: Path, data: Path | None = None, device: str = "cpu") -> list[str]:
    """Return what is wrong with a bundle, each as a sentence; nothing if every file and every recorded number holds.

    Args:
        folder: of the bundle.
        data: folder of the dataset's files; by default they are fetched.
        device: on which the numbers are measured again; on a GPU some may differ in their last digits.

    Raises:
        UserError: the dataset cannot be had.
    """
    from trainables.storage.bundle_files import find_changes

    try:
        record = read_bundle_record(folder)
        problems = find_changes(folder)
    except UserError as error:
        return [str(error)]
    if problems:
        return problems
    return [*_compare_numbers(folder, record, data, device), *_compare_program(folder)]


def _compare_numbers(folder: Path, record: BundleRecord, data: Path | None, device: str) -> list[str]:
    from trainables.judging.saved import evaluate_classifier, load_classifier

    threads = min(record.num_threads, os.cpu_count() or 1)
    trained = load_classifier(folder)
    measured: Mapping[str, float] = evaluate_classifier(
        trained, "validation", data=data, device=device, num_threads=threads
    )["metrics"]
    return [
        f"{folder / 'metrics.json'} says {name} {record.metrics[name]!r}, and it is {value!r} here (another machine or "
        "release of torch may round otherwise)"
        for name, value in measured.items()
        if name in record.metrics and record.metrics[name] != value
    ]


def _compare_program(folder: Path) -> list[str]:
    from trainables.networks.bundle import read_bundle
    from trainables.networks.program import PROGRAM, largest_difference

    if not (folder / PROGRAM).exists():
        return []
    config, classifier = read_bundle(folder)
    difference = largest_difference(folder / PROGRAM, classifier, config.dataset.task)
    if difference <= _MAX_DIFFERENCE:
        return []
    return [f"{folder / PROGRAM} is not the classifier of the weights: its logits differ by up to {difference:.2g}"]
