"""The result of confirming a sweep as runs of MLflow, one for each configuration: means, intervals, leads, p-values."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainables.evaluation.metrics import metric_named
from tuner.results.confirmation import is_confirmed, leads_of
from tuner.results.terminal.confirmation import configuration_sentences
from tuner.sweep.confirmation import Confirmation, ConfirmedConfiguration, Interval, MeanOverSeeds
from tuner.sweep.runs import flatten
from tuner.tracking.mlflow_internals import PARAM_LENGTH, PARAMS_PER_BATCH
from tuner.tracking.server import PARENT_TAG, RUN_TAG, SWEEP_TAG

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CONFIGURATION = "configuration"
"""The kind of these runs, as their tag ``tuner.kind`` says it."""

_FORMAT = 1
"""Of what these runs hold. A sync replaces those of another format."""

_DIGEST_TAG = "tuner.confirm"


def write_configurations(client: MlflowClient, experiment_id: str, parent_id: str, confirmation: Confirmation) -> None:
    """Write a run for each configuration that was trained again with fresh seeds, unless MLflow has it.

    A run whose result has changed since, as with more seeds, is replaced; MLflow keeps it among its deleted runs.

    Args:
        client: of MLflow.
        experiment_id: of the sweep's runs.
        parent_id: of the sweep's own run.
        confirmation: of the sweep.
    """
    digest = hashlib.sha256(f"{_FORMAT} {confirmation.to_json()}".encode()).hexdigest()[:16]
    query = f"tags.`{SWEEP_TAG}` = '{confirmation.sweep_id}' AND tags.`tuner.kind` = '{CONFIGURATION}'"
    current: set[str] = set()
    outdated: list[str] = []
    for run in client.search_runs([experiment_id], query, max_results=1000):
        key, is_whole = run.data.tags[RUN_TAG], run.info.status == "FINISHED"
        if is_whole and run.data.tags.get(_DIGEST_TAG) == digest and key not in current:
            current.add(key)
        else:
            outdated.append(run.info.run_id)
    for configuration in confirmation.configurations:
        if _key(configuration) not in current:
            _write(client, experiment_id, parent_id, confirmation, configuration, digest)
    for run_id in outdated:
        client.delete_run(run_id)


def _write(
    client: MlflowClient,
    experiment_id: str,
    parent_id: str,
    confirmation: Confirmation,
    configuration: ConfirmedConfiguration,
    digest: str,
) -> None:
    from mlflow.entities import Metric, Param

    num_runs = sum(run.validation is not None for run in configuration.runs)
    label = "" if configuration.label == configuration.display_name else f" {configuration.label}"
    name = f"{configuration.display_name}{label}, {num_runs} seeds"
    tags = {
        SWEEP_TAG: confirmation.sweep_id,
        RUN_TAG: _key(configuration),
        PARENT_TAG: parent_id,
        _DIGEST_TAG: digest,
        "tuner.sweep": confirmation.sweep,
        "tuner.kind": CONFIGURATION,
        "tuner.verdict": _verdict(confirmation, configuration),
        "label": configuration.label,
        "mlflow.note.content": "\n\n".join(configuration_sentences(confirmation, configuration)),
    }
    run_id = client.create_run(experiment_id, None, tags, name).info.run_id
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in _numbers(confirmation, configuration)]
    params = [Param(name, value[:PARAM_LENGTH]) for name, value in flatten(configuration.settings).items()]
    client.log_batch(run_id, metrics)
    for start in range(0, len(params), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])
    client.set_terminated(run_id)


def _key(configuration: ConfirmedConfiguration) -> str:
    return f"{CONFIGURATION}-{configuration.name}"


def _verdict(confirmation: Confirmation, configuration: ConfirmedConfiguration) -> str:
    """Return what confirming has found of a configuration, in a few words."""
    if configuration.is_baseline:
        return "baseline"
    if configuration.elimination_reason:
        return f"cannot win: {configuration.elimination_reason}"[:5000]
    if configuration.name == confirmation.winner:
        return "confirmed" if is_confirmed(confirmation) else "best, not confirmed"
    return "not distinguishable from the best" if configuration.name in confirmation.tied else "behind the best"


def _numbers(confirmation: Confirmation, configuration: ConfirmedConfiguration) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a configuration's run: first what the verdict is about."""
    measured = sorted(configuration.test.items(), key=lambda item: item[0] != confirmation.test_metric)
    for metric, value in measured[:1]:
        yield from _mean(f"test/{metric}", metric, value)
    for lead in leads_of(confirmation, configuration):
        yield f"lead/{lead.against}/mean", lead.mean
        yield from _bounds(f"lead/{lead.against}", lead.interval)
        yield f"lead/{lead.against}/n", lead.num_pairs
        yield f"p/{lead.against}", lead.p_corrected
    for metric, value in measured[1:]:
        yield from _mean(f"test/{metric}", metric, value)
    if configuration.validation is not None:
        yield from _mean(f"validation/{confirmation.metric}", confirmation.metric, configuration.validation)


def _mean(group: str, metric: str, value: MeanOverSeeds) -> Iterator[tuple[str, float]]:
    yield f"{group}/mean", value.mean
    yield from _bounds(group, _interval(metric, value))
    yield f"{group}/n", value.seeds


def _interval(metric: str, value: MeanOverSeeds) -> Interval | None:
    """Return the interval of a mean; that of an accuracy ends where accuracies do."""
    if value.low is None or value.high is None:
        return None
    if metric_named(metric).is_share:
        return max(value.low, 0.0), min(value.high, 1.0)
    return value.low, value.high


def _bounds(group: str, interval: Interval | None) -> Iterator[tuple[str, float]]:
    if interval is not None:
        yield f"{group}/low", interval[0]
        yield f"{group}/high", interval[1]
