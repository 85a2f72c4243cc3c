"""What a search would cost: the shares of trials that are stopped, the number of runs, and `tuner spaces plan`."""

from __future__ import annotations

import pytest

from search_spaces.configurations import load_space, parse_space
from tuner.execution import estimate as module
from tuner.execution.estimate import estimate, estimate_lines, plan_lines
from tuner.execution.ray_tune.gpu_plan import GpuMachine, RunResources, plan_gpus
from tuner.execution.ray_tune.gpus import Placement

TEXT = """\
name: mine
trainable: standard
dataset: {name: digits, validation: 200}
budget: {trials: 10, compute: 9}
search: {sampler: random, pruner: PRUNER}
resources: {cpu: 1, gpu: 0.5}
baselines: [standard, pgd]
parameters: {classifier: {architecture: mlp, learning_rate: {float: [1.0e-3, 1.0e-2]}}}
"""


@pytest.mark.parametrize(
    ("pruner", "compute"),
    [
        ("none", None),
        ("median", None),
        ("{successive_halving: {min_resource: 3, reduction_factor: 3}}", 10 * (3 + 6 / 3) + 18),
        ("{successive_halving: {min_resource: 1, reduction_factor: 3}}", 10 * (1 + 2 / 3 + 6 / 9) + 18),
        ("{successive_halving: {min_resource: 9}}", None),
    ],
)
def test_successive_halving_leaves_one_trial_of_so_many_at_each_rung(pruner, compute):
    found = estimate(parse_space(TEXT.replace("PRUNER", pruner), "x.yaml"), None, None, None, num_gpus=3, report_s=2.0)
    assert (found.trials, found.runs, found.compute) == (10, 12, 12 * 9)
    assert found.pruned_compute == (None if compute is None else pytest.approx(compute))
    assert (found.at_once, found.longest_s, found.seconds) == (6, 18.0, 12 * 18.0 / 6)
    assert found.memory_mb is None


def test_a_grid_with_seeds_has_its_baselines_with_each_of_them():
    space = load_space("defences")
    found = estimate(space, None, None, None, num_gpus=1, report_s=1.0)
    assert (found.trials, found.runs) == (12, 12 + 3 * len(space.baselines))


def test_a_plan_is_printed(run, tmp_path):
    (tmp_path / "mine.yaml").write_text(TEXT.replace("PRUNER", "{successive_halving: {min_resource: 3}}"))
    code, output = run("spaces", "plan", "mine.yaml", "--gpus", "3", "--report", "2s", "--set", "budget.time=1h")
    assert code == 0, output
    assert output.splitlines() == [
        "mine: 10 trials, 2 baselines; time may end it sooner",
        "compute: at most 108 epochs of standard training, about 68 if one in 3 trials goes on at 3 and at each "
        "multiple",
        "a trial: 18 s, 2 s for a report and what comes before it",
        "time on 3 GPUs, 6 at once: about 23 s, at most 36 s",
    ]


def test_a_pack_on_a_gpu_is_as_fast_as_was_measured_and_on_a_processor_no_faster():
    space = load_space("defences")
    packed = space.model_copy(update={"resources": space.resources.model_copy(update={"gpu": 1.0, "pack": 8})})
    plain, found = (estimate(each, None, None, None, num_gpus=2, report_s=1.0) for each in (space, packed))
    assert (plain.at_once, found.at_once) == (2, 16)
    assert found.seconds == plain.seconds / 4
    placement = Placement(RunResources(cpu=1.0, pack=2))
    found = estimate(packed, None, None, 2, report_s=1.0, placement=placement)
    assert found.seconds == 2 * plain.seconds


def test_a_dry_run_says_which_packs_there_would_be():
    space = parse_space(TEXT.replace("PRUNER", "none").replace(", gpu: 0.5", ""), "x.yaml")
    plan = plan_gpus([GpuMachine("here", 1, 4, 80_000.0)], 1, 100, run_mb=1100.0, in_packs=True)
    assert plan is not None
    placement = Placement(plan.resources, plan=plan, lines=(plan.describe(),))
    found = estimate(space, None, None, None, report_s=1.0, placement=placement)
    assert (found.at_once, found.seconds) == (16, 12 * 9.0 / 4)
    lines = estimate_lines(space, found, "x", "home", placement)
    assert any("1 processor, 1 GPU per pack of 16 runs, 16 at once" in line for line in lines), lines
    assert plan.describe() in lines


def test_a_plan_is_measured_here_and_the_same_as_a_dry_runs(run, monkeypatch):
    monkeypatch.setattr(module, "_MEASURED_S", 0.05)
    monkeypatch.setattr(module, "num_local_gpus", lambda: 0)
    code, output = run("spaces", "plan", "digits", "--trials", "3")
    assert code == 0, output
    assert output.startswith("digits: 3 trials, 2 baselines\n")
    assert "time on this machine, " in output
    compute = next(line for line in output.splitlines() if line.startswith("compute: "))
    assert compute in run("launch", "digits", "--dry-run", "--trials", "3")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "2"], "this machine has no GPU to measure a report on"),
        (["--report", "3"], "--report must be a number above 0 with its unit"),
        (
            ["--gpus", "1", "--report", "3s", "--set", "resources.gpu=2"],
            "resources.gpu: must be at most 1, not 2",
        ),
        (["--set", "budget.compute=-1"], "must be greater than or equal to 0.001"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_planned_is_said(run, monkeypatch, arguments, message):
    monkeypatch.setattr(module, "num_local_gpus", lambda: 0)
    code, output = run("spaces", "plan", "digits", *arguments)
    assert (code, message in output) == (2, True), output


def test_of_a_search_that_a_budget_ends_a_trial_is_planned():
    space = parse_space(TEXT.replace("PRUNER", "none").replace("trials: 10", "time: 1h"), "x.yaml")
    found = estimate(space, None, None, None, num_gpus=2, report_s=2.0)
    assert plan_lines(space, found, 2) == [
        "mine: trials until a budget is spent, 2 baselines; time may end it sooner",
        "a trial: 18 s, 2 s for a report and what comes before it",
    ]
