"""How a search is led: several objectives, samplers, pruners, and the budgets that end it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import GPSampler, NSGAIISampler, TPESampler

from search_spaces.configurations import parse_space
from search_spaces.errors import SpaceError
from search_spaces.sections import Objective
from tests.tuner.conftest import STEPS, row, train, train_all
from tuner.results.compare import comparison_sentences
from tuner.results.pictures.draw import draw_sweep
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best, front
from tuner.sweep.reader import read_records
from tuner.sweep.runs import SWEEP, Record, Run
from tuner.sweep.snapshot import read_snapshot
from tuner.sweep.state import Convergence, is_complete
from tuner.sweep.status import status_of
from tuner.tracking.server import quiet_mlflow
from tuner.tracking.writer import MlflowWriter

TWO = "objective: [{metric: robust}, {metric: clean}]"
CONVERGING = "trials: 60, until: converged, compute: 3}"
HALVING = "pruner: {successive_halving: {min_resource: 1, reduction_factor: 2}}"


def space(search: str, extra: str = "") -> str:
    return f"""\
name: search
trainable: gan
dataset: {{name: digits, validation: 200}}
budget: {{trials: 12, compute: 3}}
search: {{{search}, seed: 3}}
{extra}
parameters:
  clean_weight: {{float: [0.0, 1.0]}}
  batch_size: {{choice: [32, 64]}}
"""


def create(folder: Path, text: str, name: str = "a") -> SweepFolder:
    return SweepFolder.create(name, text, "a.yaml", home=folder)


def metrics(run: Run, step: int) -> dict[str, float]:
    """Robust against clean accuracy: the weight on clean images buys one with the other."""
    weight = run.settings["clean_weight"]
    clean = 0.5 + 0.5 * weight
    measured = {"watch/clean": clean} | ({"clean": clean} if step == STEPS else {})
    return row(step, 0.5 * step / STEPS * (1 - weight**2)) | measured


def train_tradeoff(ledger: Ledger) -> None:
    for run in iter(ledger.next_run, None):
        if all(ledger.report(run.key, metrics(run, step)) for step in range(1, STEPS)):
            ledger.complete(run.key, metrics(run, STEPS))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc", "gp"])
@pytest.mark.parametrize("objective", ["", TWO])
def test_every_sampler_serves_one_and_several_objectives(tmp_path, sampler, objective):
    ledger = Ledger(create(tmp_path, space(f"sampler: {sampler}", objective)))
    train_tradeoff(ledger)
    assert ledger.is_complete
    weights = [record.run.settings["clean_weight"] for record in ledger.records.values()]
    assert len(set(weights)) >= 6  # NSGA-II keeps some of its parents, and the best may lie at an end
    assert all(0 <= weight <= 1 for weight in weights)


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband", "median", HALVING.removeprefix("pruner: ")])
@pytest.mark.parametrize("objective", ["", TWO])
def test_every_pruner_stops_weak_trials_on_one_scalar(tmp_path, pruner, objective):
    search = f"sampler: random, pruner: {pruner}"
    ledger = Ledger(create(tmp_path, space(search, objective).replace("trials: 12", "trials: 40")))
    train_tradeoff(ledger)
    states = [record.state for record in ledger.records.values()]
    assert set(states) == {"complete", "pruned"}
    assert all(record.metrics["step"] == STEPS for record in ledger.records.values() if record.state == "complete")


def test_the_scalar_to_prune_on_can_be_named(tmp_path):
    def kept(prune_on: str) -> float:
        text = space(f"sampler: random, {HALVING}, prune_on: {{metric: watch/{prune_on}}}", TWO)
        ledger = Ledger(create(tmp_path, text.replace("trials: 12", "trials: 30"), prune_on))
        train_tradeoff(ledger)
        whole = [record for record in ledger.records.values() if record.state == "complete"]
        return sum(record.run.settings["clean_weight"] for record in whole) / len(whole)

    assert kept("clean") > kept("robust") + 0.2


def test_only_whole_trials_enter_the_front(tmp_path):
    sweep = create(tmp_path, space(f"sampler: random, {HALVING}", TWO).replace("trials: 12", "trials: 30"))
    train_tradeoff(Ledger(sweep))
    records = read_records(sweep)
    on_front = front(records, sweep.space.objectives)
    assert len(on_front) > 1
    assert {record.state for record in on_front} == {"complete"}
    assert on_front[0].run.key == best(records, "max").run.key


@pytest.mark.parametrize(
    ("search", "objective"),
    [
        *((f"sampler: {name}, {HALVING}", TWO) for name in ("tpe", "gp", "nsga2", "random", "qmc")),
        (f"sampler: {{class: 'optuna.samplers:NSGAIIISampler'}}, {HALVING}", TWO),
        (f"sampler: tpe, {HALVING}, prune_on: pareto", TWO),
        *((f"sampler: {name}, {HALVING}", "") for name in ("nsga2", "random", "qmc")),
        (f"sampler: tpe, {HALVING}", CONVERGING),
    ],
)
def test_a_search_whose_drivers_die_draws_and_stops_what_an_uninterrupted_one_does(tmp_path, search, objective):
    text = space(search, "" if objective == CONVERGING else objective)
    num_trials = 7 if "gp" in search else 15  # some of them drawn by the model
    text = text.replace(
        "trials: 12, compute: 3}", CONVERGING if objective == CONVERGING else f"trials: {num_trials}, compute: 3}}"
    )
    whole, parts = create(tmp_path, text, "whole"), create(tmp_path, text, "parts")
    train_tradeoff(Ledger(whole))
    dice = random.Random(1)
    while not (ledger := Ledger(parts)).is_complete:  # one after another they die, with a run on their hands
        for _ in range(dice.randrange(1, 3)):
            run = ledger.next_run()
            if run is None:
                break
            begun = int(ledger.records[run.key].metrics.get("step", 0))
            steps = [step for step in range(1, STEPS) if step >= begun]
            if all(ledger.report(run.key, metrics(run, step)) for step in steps):
                if dice.random() > 0.7:
                    break
                ledger.complete(run.key, metrics(run, STEPS))

    def outcomes(sweep: SweepFolder) -> list[tuple[str, str, float]]:
        return [(one.run.key, one.state, one.run.settings["clean_weight"]) for one in read_records(sweep)]

    assert outcomes(parts) == outcomes(whole)
    assert len(outcomes(whole)) > 10 if objective == CONVERGING else len(outcomes(whole)) == num_trials


MIN_MAX = (Objective(metric="compute", mode="min"), Objective(metric="robust"))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=12))
def test_the_front_is_what_no_other_beats(points):
    def record(number: int, compute: int, robust: int, feasible: bool) -> Record:
        run = Run(f"trial-{number:04d}", "trial", number, {}, Path())
        return Record(run, "complete", {"compute": compute, "robust": robust}, compute, feasible)

    records = [record(number, *point) for number, point in enumerate(points)]
    inside = {one.run.key for one in front(records, MIN_MAX)}

    def beats(one: Record, other: Record) -> bool:
        no_worse = one.metrics["compute"] <= other.metrics["compute"]
        no_worse &= one.metrics["robust"] >= other.metrics["robust"]
        return one.feasible and no_worse and one.metrics != other.metrics

    for one in records:
        assert (one.run.key in inside) == (one.feasible and not any(beats(other, one) for other in records))


def test_compute_may_vary_up_to_the_budget(tmp_path):
    text = space("sampler: random", "objective: [{metric: robust}, {metric: compute, mode: min}]")
    sweep = create(tmp_path, text + "  compute: {float: [1.5, 3.0]}\nbaselines: [standard]\n")
    ledger = Ledger(sweep)
    computes = {run.key: run.settings["compute"] for run in iter(ledger.next_run, None)}
    assert computes.pop("baseline-standard") == 3
    assert all(1.5 <= compute <= 3 for compute in computes.values())
    assert len(set(computes.values())) > 1


@pytest.mark.parametrize(
    ("budget", "trials"),
    [("total_compute: 10", 4), ("target: 0.499", 7), ("trials: 5", 5), ("trials: 5, target: 1", 5)],
)
def test_whatever_budget_is_reached_first_ends_the_search(tmp_path, budget, trials):
    text = space("sampler: random").replace("trials: 12, ", f"{budget}, total_compute: 60, ", 1)
    text = text.replace(f"{budget}, total_compute: 60", budget) if "total" in budget else text
    sweep = create(tmp_path, text + "baselines: [standard]\n")
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        assert not ledger.is_complete
        ledger.complete(run.key, row(STEPS, 0.5 if run.key == "trial-0006" else 0.1))
    assert ledger.is_complete
    assert not ledger.is_interrupted
    assert is_complete(sweep, read_records(sweep))
    assert len(read_records(sweep)) == trials + 1
    assert Ledger(sweep).next_run() is None


def test_time_that_is_up_starts_no_more_trials_whatever_driver_spent_it(tmp_path, monkeypatch):
    text = space("sampler: random").replace("trials: 12", "time: 1m") + "baselines: [standard]\n"
    sweep = create(tmp_path, text)
    clock = time.monotonic()
    monkeypatch.setattr("tuner.search.ledger.time.monotonic", lambda: clock)
    for seconds in (25, 20, 16):  # a minute is up in the third driver, while it trains
        ledger = Ledger(sweep)
        run = ledger.next_run()
        clock += seconds
        train(ledger, run)
        clock += 1000  # nobody works on it
    assert ledger.next_run() is None
    assert ledger.is_complete
    assert not ledger.is_interrupted
    assert [record.ended_s for record in read_records(sweep)] == [25, 45, 61]
    assert Ledger(sweep).next_run() is None


def test_a_run_that_is_put_back_is_handed_out_again(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    first, second = ledger.next_run(), ledger.next_run()
    ledger.report(first.key, row(1))
    ledger.requeue(first.key)
    assert ledger.next_run().key == first.key
    ledger.complete(first.key, row(STEPS))
    train(ledger, second)
    assert len(train_all(ledger)) == 4
    assert ledger.is_complete


def test_the_front_is_printed_and_drawn(tmp_path, run):
    sweep = create(tmp_path, space(f"sampler: random, {HALVING}", TWO) + "baselines: [standard]\n")
    ledger = Ledger(sweep)
    ledger.complete(ledger.next_run().key, row(STEPS, 0.3))
    train_tradeoff(ledger)
    code, printed = run("compare", "a", "--home", str(tmp_path))
    assert code == 0
    standing = front(ledger.records.values(), sweep.space.objectives)
    assert f"Front of robust accuracy against clean accuracy: {len(standing)} of" in printed
    assert printed.count(" *") == len(standing)
    picture = draw_sweep(read_snapshot(sweep, with_rows=True), tmp_path, with_runs=False).files[SWEEP][-1]
    assert picture.name == "front.png"
    assert picture.read_bytes()[1:4] == b"PNG"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own
def test_the_front_is_tagged_in_mlflow_and_a_trial_that_left_it_is_not(tmp_path):
    sweep = create(tmp_path, space("sampler: random", TWO).replace("trials: 12", "trials: 6"))
    train_tradeoff(Ledger(sweep))
    records = read_records(sweep)
    standing = records[2:4]  # those that were called so last
    with quiet_mlflow():
        writer = MlflowWriter(sweep)
        for record in records:
            writer.write(record)
        for winners in (records, standing):
            writer.finish("completed", winners, {})
    tags = {
        key: writer._client.get_run(one.run_id).data.tags.get("tuner.front") for key, one in writer._mirrored.items()
    }
    assert tags.pop(SWEEP) == " ".join(record.run.key for record in standing)
    assert {key for key, tag in tags.items() if tag == "true"} == {record.run.key for record in standing}
    assert len(tags) == 6 > len(standing)


@pytest.mark.parametrize(("sampler", "raising"), [("tpe", TPESampler), ("nsga2", NSGAIISampler), ("gp", GPSampler)])
def test_where_a_sampler_raises_in_mid_sweep_the_trial_is_drawn_at_random_and_it_is_said_once(
    tmp_path, monkeypatch, sampler, raising
):
    def fail(*_: object) -> None:
        raise ValueError("singular matrix\nof many lines")

    told: list[str] = []
    ledger = Ledger(create(tmp_path, space(f"sampler: {sampler}")), tell=told.append)
    for number, run in enumerate(iter(ledger.next_run, None)):
        train(ledger, run, 0.1 + 0.8 * run.settings["clean_weight"])
        if number == 5:
            monkeypatch.setattr(raising, "sample_relative", fail)
    assert ledger.is_complete
    assert {record.state for record in ledger.records.values()} == {"complete"}
    assert told == [f"the sampler {sampler} has failed (ValueError: singular matrix): such trials are drawn at random"]
    assert len({record.run.settings["clean_weight"] for record in ledger.records.values()}) == 12


def create_converging(folder: Path, name: str = "a") -> SweepFolder:
    text = space("sampler: random").replace("trials: 12, compute: 3}", CONVERGING)
    return create(folder, text + "baselines: [standard]\n", name)


def test_a_search_ends_when_nothing_better_is_to_be_expected_and_says_the_chance(tmp_path):
    sweep = create_converging(tmp_path)
    values = {"trial-0001": 0.5, "trial-0002": 0.51, "trial-0004": 0.7}  # 0.51 on 200 images is noise
    for _ in range(3):  # a resumed search ends at the same trial
        ledger = Ledger(sweep)
        for _ in range(5):
            if run := ledger.next_run():
                train(ledger, run, values.get(run.key, 0.1))
    assert ledger.is_complete
    assert not ledger.is_interrupted
    assert len(ledger.records) == 1 + 5 + 8  # eight whole trials after the last improvement
    snapshot = read_snapshot(sweep)
    why = "the chance that another full trial's compute leads to something better than noise is 10 %"
    assert status_of(read_snapshot(sweep, with_rows=True)).why == why
    assert f"T{why[1:]}." in comparison_sentences(snapshot)
    assert Ledger(sweep).next_run() is None


def test_stopped_and_failed_trials_count_with_what_they_have_spent_whatever_runs_beside_them(tmp_path):
    sweep = create_converging(tmp_path)
    ledger = Ledger(sweep)
    train(ledger, ledger.next_run())
    assert Convergence(sweep.space, ledger.records.values()).chance == 1.0
    train(ledger, ledger.next_run())
    first, second = ledger.next_run(), ledger.next_run()
    ledger.report(first.key, row(1))
    ledger.report(second.key, row(1))
    ledger.report(second.key, row(2))
    ledger.fail(second.key, "error: no")
    records = ledger.records.values()
    assert Convergence(sweep.space, records).chance == pytest.approx(1 / (2 / 3 + 2))
    assert status_of(read_snapshot(sweep, with_rows=True)).convergence.endswith("is 38 %")
    train(ledger, first, 0.9, start=2)
    assert Convergence(sweep.space, ledger.records.values()).chance == 0.5
    assert Convergence(sweep.space, read_records(sweep)).chance == 0.5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=12))
def test_convergence_that_is_kept_trial_by_trial_is_that_of_all_trials_in_the_order_in_which_they_ended(ended):
    space_of_it = parse_space(space("sampler: random").replace("trials: 12, compute: 3}", CONVERGING), "a.yaml")

    def record(number: int, second: int, tenths: int, is_complete: bool) -> Record:
        settings = {"evaluation": {"rank_images": 200}, "dataset": {"validation": 200}}
        run = Run(f"trial-{number:04d}", "trial", number, settings, Path())
        state = "complete" if is_complete else "pruned"
        return Record(run, state, {"compute": 1.0 + tenths}, 0.1 * tenths if is_complete else None, ended_s=second)

    records = [record(number, *each) for number, each in enumerate(ended)]
    kept = Convergence(space_of_it)
    for one in records:
        kept.add(one)
    assert kept.chance == pytest.approx(Convergence(space_of_it, records[::-1]).chance)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("search: {sampler: random", f"{TWO}\nsearch: {{sampler: random", "goes with one objective"),
        ("{sampler: random", "{sampler: grid", "no effect with the grid sampler"),
        ("until: converged", "until: later", "until"),
    ],
)
def test_convergence_that_cannot_be_is_a_mistake_with_its_line(old, new, says):
    text = space("sampler: random").replace("trials: 12, compute: 3}", CONVERGING).replace(old, new)
    with pytest.raises(SpaceError, match=says) as caught:
        parse_space(text, "a.yaml")
    assert "a.yaml:4: budget.until" in str(caught.value)


def test_a_search_may_have_no_other_end():
    text = space("sampler: random").replace("trials: 12, compute: 3}", "until: converged, compute: 3}")
    assert parse_space(text, "a.yaml").budget.until == "converged"
