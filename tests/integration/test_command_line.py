"""Real sweeps through the command line, each with a Ray of its own: to the end, killed, interrupted, exported."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import CommandLine
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import baseline_name, read_metrics
from tuner.tracking.server import EXPERIMENT, tracking_uri
from tuner.tracking.sync import is_settled

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

SLOW = """\
name: slow
trainable: gan
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 100, rank_images: 200}
budget: {trials: 6, compute: 12}
search: {sampler: tpe, pruner: {successive_halving: {min_resource: 4, reduction_factor: 2}}}
baselines: [standard, fgsm_retraining]
parameters:
  batch_size: 16
  generator: {learning_rate: {float: [1.0e-4, 1.0e-2], log: true}}
"""


def ended(records: list) -> set[str]:
    return {record.run.key for record in records if record.state != "running"}


def mlflow_children(home: Path) -> list[str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri(home))
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    return sorted(run.data.tags["tuner.run"] for run in runs if "mlflow.parentRunId" in run.data.tags)


def lines(folder: Path) -> int:
    return len((folder / "metrics.jsonl").read_text().splitlines())


def test_launch_compare_export_evaluate(command_line: CommandLine):
    output = command_line.run("launch", "digits", "--name", "a")
    assert "6 of 6 runs ended" in output
    assert "against fgsm_retraining" in output
    bundle = command_line.run("export", "a").strip().splitlines()[-1]
    rows = json.loads(command_line.run("evaluate", bundle, "--format", "json"))
    for name in ("clean", "fgsm", "rfgsm", "pgd", "robust"):
        assert rows["validation"][name] == rows["recorded (validation)"][name]
    assert 0 <= rows["test"]["robust"] <= rows["test"]["clean"] <= 1
    assert {path.name for path in Path(bundle).iterdir()} == {
        "configuration.json",
        "classifier.safetensors",
        "metrics.json",
        "provenance.json",
        "checksums.json",
        "model.pt2",
        "model_card.md",
    }
    assert "is there already" in command_line.run("export", "a", code=2)
    for run in ("standard", "1"):
        command_line.run("export", "a", "--run", run, "--output", f"bundle-{run}")
    assert "4 of 4 trials complete; 2 baselines" in command_line.run("status")
    assert is_settled(SweepFolder.open("a", home=command_line.home)), "the next command would draw everything again"
    again = command_line.run("resume", "a")
    assert "a is complete: 4 of 4 trials complete; 2 baselines; `tuner resume a --trials N` extends it" in again
    assert len(mlflow_children(command_line.home)) == 6


def test_killed_then_interrupted_then_terminated_then_completed(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "slow.yaml").write_text(SLOW)
    command = command_line.start("launch", "slow.yaml", "--name", "a")
    command_line.wait_until("a", lambda records: len(ended(records)) >= 3, command)
    command.process.kill()
    command.process.wait(30)
    sweep = SweepFolder.open("a", home=command_line.home)
    finished = ended(read_records(sweep))
    before = {record.run.key: read_metrics(record.run) for record in read_records(sweep)}
    assert 3 <= len(finished) < 8

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        command = command_line.start("resume", "a")
        # The driver has shown a run, and there is a report later than all before: it is in the midst of training.
        known = sum(map(len, before.values()))
        command_line.wait_until(
            "a",
            lambda records, known=known, command=command: (
                " running " in command.output and sum(lines(r.run.folder) for r in records if r.metrics) > known
            ),
            command,
        )
        if number == signal.SIGTERM:
            command.terminate_group()
        else:
            command.process.send_signal(number)
        output = command.finish(code)
        assert "`tuner resume a` goes on where it stands" in output
        assert "Traceback" not in output
        before = {record.run.key: read_metrics(record.run) for record in read_records(sweep)}

    output = command_line.run("resume", "a")
    records = read_records(sweep)
    assert len([record for record in records if record.run.kind == "trial"]) == 6
    assert ended(records) == {record.run.key for record in records}
    for record in records:
        rows = read_metrics(record.run)
        kept = before.get(record.run.key, [])
        assert rows[: len(kept)] == kept, "a row that was reported is gone or was written again"
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) == 12 or record.state == "pruned"
    trained_again = {line.split()[0] for line in output.splitlines() if " running " in line}
    assert not trained_again & {baseline_name(key) or key for key in finished}, "a finished run was handed out again"
    assert mlflow_children(command_line.home) == sorted(record.run.key for record in records)


def test_a_single_configuration_without_ray(command_line: CommandLine):
    sizes = ("--set", "dataset.name=digits", "--set", "dataset.validation=200", "--set", "compute=1")
    output = command_line.run("train", "fgsm_retraining", *sizes, "--output", "one")
    assert "robust" in output
    rows = json.loads(command_line.run("evaluate", "one", "--format", "json", "--split", "validation"))
    recorded = rows["recorded (validation)"]
    assert all(recorded[name] == value for name, value in rows["validation"].items())
