"""Confirming through the command line, with a Ray of its own: killed, interrupted, gone on with, and compared."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.integration.conftest import CommandLine
from tests.integration.test_command_line import ended, mlflow_children
from tests.integration.test_steering import wait_until
from tuner.sweep.control import phase_of
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.runs import baseline_name, read_metrics
from tuner.tracking.sync import is_settled

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

SPACE = """\
name: small
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {epsilon: 0.1, watch_images: 50, rank_images: 100}
budget: {trials: 2, compute: 6}
search: {sampler: random}
baselines: [fgsm_retraining]
confirm: {top: 2, seeds: 3}
parameters:
  batch_size: 16
  classifier: {learning_rate: {float: [1.0e-3, 4.0e-3]}}
"""


def test_killed_then_interrupted_then_confirmed(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "small.yaml").write_text(SPACE)
    command_line.run("launch", "small.yaml", "--name", "a")
    sweep = SweepFolder.open("a", home=command_line.home)
    searched = read_records(sweep)

    before: dict[str, list] = {}
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        command = command_line.start("confirm", "a", "--images", "50")
        known = sum(map(len, before.values()))
        command_line.wait_until(
            "a",
            lambda _, known=known: (
                sum(len(read_metrics(one.run)) for one in read_records(sweep, ["confirm"])) > known + 3
            ),
            command,
        )
        command.process.send_signal(number)
        output = command.finish(code)
        assert "Traceback" not in output
        records = read_records(sweep, ["confirm"])
        for key, rows in before.items():
            now = next(read_metrics(record.run) for record in records if record.run.key == key)
            assert now[: len(rows)] == rows, "a row that was reported is gone or was written again"
        before = {record.run.key: read_metrics(record.run) for record in records}
    assert "`tuner confirm a` goes on where it stands" in output
    finished = ended(records)
    assert len(finished) < 9

    output = command_line.run("confirm", "a", "--images", "50")
    records = read_records(sweep, ["confirm"])
    assert ended(records) == {record.run.key for record in records}
    trained_again = {line.split()[0] for line in output.splitlines() if " running " in line}
    assert not trained_again & {baseline_name(key) or key for key in finished}, "a finished run was handed out again"
    assert len({(record.run.folder, record.run.settings["seed"]) for record in records}) == len(records)
    for record in records:
        steps = [row["step"] for row in read_metrics(record.run)]
        assert steps == list(range(1, len(steps) + 1))
    assert read_records(sweep) == searched, "the search's own records have changed"
    children = mlflow_children(command_line.home)
    assert [key for key in children if not key.startswith("configuration-")] == sorted(
        one.run.key for one in [*searched, *records]
    )

    found = json.loads((sweep.folder / "confirm.json").read_text())
    assert found["images"] == 50
    assert found["winner"] in {"trial-0000", "trial-0001"}
    assert [one["against"] for one in found["differences"]] == ["fgsm_retraining"]
    assert set(children) >= {f"configuration-{one['name']}" for one in found["configurations"]}
    assert re.search(rf"[Cc]onfirmed[^:]*: {found['winner']} ", command_line.run("compare", "a"))
    assert found["run"] in command_line.run("export", "a")


def test_afterwards_mlflow_lacks_nothing(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "small.yaml").write_text(SPACE)
    command_line.run("launch", "small.yaml", "--name", "a", "--trials", "1")
    sweep = SweepFolder.open("a", home=command_line.home)
    assert is_settled(sweep)
    command_line.run("confirm", "a", "--seeds", "2", "--images", "50")
    assert is_settled(sweep)
    before = mlflow_children(command_line.home)
    command_line.run("sync", "a")
    assert mlflow_children(command_line.home) == before


def test_paused_resumed_and_stopped_from_another_terminal(command_line: CommandLine):
    command_line.draw_nothing()
    (command_line.folder / "small.yaml").write_text(SPACE.replace("compute: 6", "compute: 12"))
    command_line.run("launch", "small.yaml", "--name", "a", "--trials", "1")
    sweep = SweepFolder.open("a", home=command_line.home)

    def rows() -> dict[str, list]:
        return {one.run.key: read_metrics(one.run) for one in read_records(sweep, ["confirm"])}

    def num_rows() -> int:
        return sum(map(len, rows().values()))

    command = command_line.start("confirm", "a", "--images", "50")
    wait_until(lambda: num_rows() > 2, "it reports")
    assert "pauses once each run has reported" in command_line.run("pause", "a")
    wait_until(lambda: phase_of(sweep) == "paused", "it pauses")
    paused = rows()
    assert sweep.is_running()
    assert "a goes on" in command_line.run("resume", "a")
    wait_until(lambda: num_rows() > sum(map(len, paused.values())), "it goes on")
    assert "ends once each run has reported" in command_line.run("stop", "a")
    output = command.finish(3)
    assert "Paused: `tuner resume a` goes on, `tuner stop a` ends the driver" in output
    assert "Stopped on request; `tuner confirm a` goes on where it stands" in output
    assert "Traceback" not in output
    now = rows()
    assert not (sweep.folder / "confirm.json").exists()
    for key, before in paused.items():
        assert now[key][: len(before)] == before, "a row that was reported is gone or was written again"
    for run in now.values():
        assert [row["step"] for row in run] == list(range(1, len(run) + 1))

    # Once all are trained, a stop ends the evaluation, too.
    command = command_line.start("confirm", "a", "--images", "50", "--workers", "1")
    wait_until(lambda: "runs are evaluated already" in command.output, "it evaluates")
    assert "or has been evaluated; `tuner confirm a` goes on" in " ".join(command_line.run("stop", "a").split())
    assert "Stopped on request; `tuner confirm a` goes on where it stands" in command.finish(3)
    assert not (sweep.folder / "confirm.json").exists()
    evaluated = command_line.run("confirm", "a", "--images", "50")
    assert re.search(r"^[1-5] of 6 runs are evaluated already", evaluated, re.MULTILINE)
    assert (sweep.folder / "confirm.json").exists()
