"""What confirming found: winner, intervals, differences and words, and where they are shown."""

from __future__ import annotations

import io
import json

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from tests.tuner.conftest import STEPS, row, train, train_all, train_really
from tuner.errors import UserError
from tuner.execution.evaluation import evaluate_runs
from tuner.results.bundles.export import export_run
from tuner.results.confirmation import is_confirmed, leads_of, write_confirmation
from tuner.results.selection import choose_run
from tuner.results.terminal.confirmation import configuration_sentences, confirmation_sentences
from tuner.results.terminal.live import LiveTable
from tuner.search.confirmation import make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.ledger import Ledger
from tuner.statistics import holm, paired
from tuner.sweep.confirmation import Confirmation, read_confirmation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.snapshot import read_snapshot
from tuner.tracking.server import tracking_uri
from tuner.tracking.sync import mirror_now

# MLflow's own dependencies warn when its schema is made.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def searched(make_sweep) -> SweepFolder:
    sweep = make_sweep()
    train_all(Ledger(sweep))
    return sweep


VALUES = {
    "trial-0003": [0.80, 0.82, 0.83],
    "trial-0002": [0.70, 0.71, 0.74],
    "trial-0001": [0.60, 0.62, 0.61],
    "baseline-standard": [0.1, 0.12, 0.11],
    "baseline-fgsm_retraining": [0.79, 0.80, 0.85],
}
CLEARLY_BETTER = {**VALUES, "baseline-fgsm_retraining": [0.59, 0.61, 0.62]}


KEYS = [
    *("format", "sweep", "sweep_id", "metric", "mode", "tier", "validation_images", "images", "epsilon", "top"),
    *("seeds", "test_metric", "winner", "run", "tied", "differences", "configurations"),
]


def confirm(sweep: SweepFolder, values=VALUES, **others: float) -> Confirmation:
    """Train what is to be confirmed to given accuracies, which are 2 points lower on test images."""
    plan = make_plan(sweep)
    ledger = ConfirmLedger(sweep, plan)
    for run in iter(ledger.next_run, None):
        name, seed = run.key.split(".seed")
        robust = values[name][plan.seeds.index(int(seed))]
        train(ledger, run, robust) if not others else ledger.complete(run.key, row(STEPS, robust, **others))
        about = {"tier": "rank", "dataset": "digits", "split": "test", "images": 1000, "epsilon": 0.3, "asked": None}
        results = {**about, "run": run.key, "metrics": row(STEPS, round(robust - 0.02, 4))}
        (run.folder / "test.json").write_text(json.dumps(results))
    return write_confirmation(sweep, plan, list(ledger.records.values()), "rank", ledger.record_result)


@pytest.mark.parametrize("width", [72, 80, 120])
def test_the_live_table_has_the_seeds_apart_from_the_names(searched, width):
    ledger = ConfirmLedger(searched, make_plan(searched))
    runs = [ledger.next_run() for _ in range(4)]
    for run in runs:
        ledger.report(run.key, row(1))
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with LiveTable(ledger, console, budget=searched.space.budget, mode="max"):
        pass
    lines = [line.split() for line in console.file.getvalue().splitlines() if line]
    trials = [run.name.split(".seed") for run in runs if "trial" in run.name]
    assert len(trials) == 2
    assert [line[:2] for line in lines if "trial" in line[0]] == trials


def test_the_winner_has_the_best_mean_over_fresh_seeds(searched):
    found = confirm(searched)
    assert (found.winner, found.run) == ("trial-0003", "trial-0003.seed100008")
    assert read_confirmation(searched) == found
    written = json.loads((searched.folder / "confirm.json").read_text())
    assert list(written)[-1] == "sha256"
    del written["sha256"]
    assert list(written) == KEYS
    assert written == json.loads(found.to_json())
    assert written["configurations"][0].keys() >= {"baseline", "out", "masked"}
    assert written["differences"][0]["pairs"] == 3
    winner = next(one for one in found.configurations if one.name == "trial-0003")
    assert winner.validation.mean == pytest.approx(0.8167, abs=1e-4)
    assert winner.test["robust"].mean == pytest.approx(0.7967, abs=1e-4)
    assert winner.test["robust"].low < 0.7967 < winner.test["robust"].high


def test_differences_are_paired_by_seed_and_corrected(searched):
    found = confirm(searched)
    expected = [
        paired(VALUES["trial-0003"], VALUES[f"baseline-{name}"], 0.001) for name in ("standard", "fgsm_retraining")
    ]
    assert [one.against for one in found.differences] == ["standard", "fgsm_retraining"]
    assert [one.p_corrected for one in found.differences] == pytest.approx(holm([one.p_value for one in expected]))
    for one, reference in zip(found.differences, expected, strict=True):
        assert one.mean == pytest.approx(reference.mean)
        assert list(one.student) == pytest.approx(list(reference.student))
        assert list(one.bootstrap) == pytest.approx(list(reference.bootstrap))
    lines = "\n".join(confirmation_sentences(found))
    assert "Not confirmed as better than fgsm_retraining: trial-0003 (gan " in lines
    assert not is_confirmed(found)
    assert "79.7 % robust accuracy on 1,000 test images (95 %: 75.9-83.5, Student's t over 3 fresh seeds)" in lines
    assert "Better than standard: +70.7 points of robust accuracy" in lines
    assert "Not distinguishable from fgsm_retraining: +0.3 points" in lines
    assert "trial-0003 is distinguishable from the others of the top 3" in lines


def test_every_trial_has_its_lead_over_each_baseline(searched):
    found = confirm(searched)
    by_name = {one.name: one for one in found.configurations}
    assert leads_of(found, by_name["trial-0003"]) == found.differences
    assert leads_of(found, by_name["baseline-standard"]) == ()
    names = ("standard", "fgsm_retraining")
    behind = [paired(VALUES["trial-0002"], VALUES[f"baseline-{name}"], 0.001) for name in names]
    leads = leads_of(found, by_name["trial-0002"])
    assert [lead.against for lead in leads] == list(names)
    assert [lead.mean for lead in leads] == pytest.approx([difference.mean for difference in behind])
    assert [lead.p_corrected for lead in leads] == pytest.approx(holm([difference.p_value for difference in behind]))
    said = " ".join(configuration_sentences(found, by_name["trial-0002"]))
    assert "69.7 % robust accuracy on 1,000 test images" in said
    assert "Better than standard: +60.7 points" in said
    said = " ".join(configuration_sentences(found, by_name["baseline-standard"]))
    assert "trial-0003 against standard: Better than standard: +70.7 points" in said


def test_a_top_that_cannot_be_told_apart_is_said_so(searched):
    close = {name: [0.80, 0.81, 0.79] for name in VALUES}
    found = confirm(searched, {**close, "trial-0002": [0.81, 0.79, 0.801]})
    assert found.winner == "trial-0002"
    assert found.tied == ("trial-0003", "trial-0001")
    lines = "\n".join(confirmation_sentences(found))
    assert "The top 3 are not distinguishable with 3 seeds: trial-0002 has the best mean" in lines
    assert "`tuner confirm tiny --seeds 6` adds seeds" in lines


def test_of_some_that_cannot_be_told_apart_the_names_are_said(searched):
    found = confirm(searched, {**VALUES, "trial-0002": [0.81, 0.80, 0.83], "trial-0001": [0.55, 0.61, 0.60]})
    assert found.tied == ("trial-0002",)
    assert "trial-0003 is not distinguishable from trial-0002 with 3 seeds." in confirmation_sentences(found)


def test_constraints_are_kept_on_average(make_sweep):
    limit = "constraints: {clean: {min: 0.605}}\nbaselines:"
    sweep = make_sweep(replace=("baselines:", limit))
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        ledger.complete(run.key, row(STEPS, 0.7 + run.number / 100))
    found = confirm(sweep, {**VALUES, "trial-0003": [0.60, 0.59, 0.60], "trial-0002": [0.60, 0.61, 0.62]})
    assert found.winner == "trial-0001" if sum(VALUES["trial-0001"]) > 1.83 else "trial-0002"
    assert any(line.startswith("trial-0003 cannot win: outside clean min") for line in confirmation_sentences(found))


def test_when_all_are_masked_there_is_no_winner(searched):
    found = confirm(searched, masking_failures=1.0)
    assert (found.winner, found.run, found.differences) == (None, None, ())
    assert confirmation_sentences(found)[-1] == "No configuration of tiny is confirmed."
    assert choose_run(read_snapshot(searched), None).run.key == "trial-0003"


def test_a_confirmed_sweep_is_compared_and_exported_as_such(searched, run, tmp_path):
    code, before = run("compare", "tiny", "--home", str(tmp_path))
    assert code == 0
    assert "Confirmed" not in before
    assert is_confirmed(confirm(searched, CLEARLY_BETTER))
    code, said = run("compare", "tiny", "--home", str(tmp_path))
    assert code == 0
    assert "Confirmed as better than standard, fgsm_retraining: trial-0003" in said
    for text in ("bootstrap (BCa)", "p (Holm)", "trial-0003 *", "Better than standard"):
        assert text in said
    document = json.loads(run("compare", "tiny", "--home", str(tmp_path), "--format", "json")[1])
    assert document["confirmation"]["winner"] == "trial-0003"
    assert all(sentence in said for sentence in document["sentences"] + document["confirmation"]["sentences"])
    assert choose_run(read_snapshot(searched), None).run.key == "trial-0003.seed100008"
    assert choose_run(read_snapshot(searched), "trial-0003.seed100007").run.settings["seed"] == 100007
    assert choose_run(read_snapshot(searched), "3").run.key == "trial-0003"


def test_nothing_is_called_confirmed_beside_no_baseline(make_sweep):
    sweep = make_sweep(replace=("baselines: [standard, fgsm_retraining]", ""))
    train_all(Ledger(sweep))
    found = confirm(sweep)
    assert not is_confirmed(found)
    assert confirmation_sentences(found)[0].startswith("Measured with fresh seeds, beside no baseline: trial-0003")


def test_of_equal_means_the_winner_is_the_one_with_the_better_clean_accuracy(searched):
    plan = make_plan(searched)
    ledger = ConfirmLedger(searched, plan)
    for run in iter(ledger.next_run, None):
        ledger.complete(run.key, row(STEPS, 0.5, clean=0.9 if run.key.startswith("trial-0001") else 0.8))
        about = {"tier": "rank", "dataset": "digits", "split": "test", "images": 1000, "epsilon": 0.3, "asked": None}
        (run.folder / "test.json").write_text(json.dumps({**about, "metrics": row(STEPS, 0.5)}))
    found = write_confirmation(searched, plan, list(ledger.records.values()), "rank", ledger.record_result)
    assert found.winner == "trial-0001"
    assert not is_confirmed(found)


def test_what_leads_since_then_is_said(make_sweep, run, tmp_path):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    for _ in range(5):
        started = ledger.next_run()
        train(ledger, started, 0.1 * (started.number + 1))
    confirm(sweep, {**VALUES, "trial-0000": [0.5, 0.5, 0.5]})
    assert "The search has found better since" not in run("compare", "tiny", "--home", str(tmp_path))[1]
    train_all(Ledger(sweep))
    said = run("compare", "tiny", "--home", str(tmp_path))[1]
    assert "The search has found better since: trial-0003; `tuner confirm tiny` takes it in." in said


def test_a_file_of_another_release_is_refused(searched):
    (searched.folder / "confirm.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="has format 99; this release reads format 1"):
        read_confirmation(searched)


@pytest.mark.parametrize(("robust", "tied"), [([0.50, 0.54, 0.56, 0.57], 4), ([0.2, 0.3, 0.88, 0.9], 2)])
def test_a_search_that_ends_on_noise_says_so(make_sweep, run, tmp_path, robust, tied):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    for one in iter(ledger.next_run, None):
        train(ledger, one, robust[one.number])
    code, said = run("compare", "tiny", "--home", str(tmp_path))
    assert code == 0
    assert f"The top {tied} are not distinguishable: the lead of trial-0003 is within the noise of 100 " in said


def test_a_clear_lead_is_not_called_noise(make_sweep, run, tmp_path):
    ledger = Ledger(make_sweep())
    for one in iter(ledger.next_run, None):
        train(ledger, one, [0.1, 0.3, 0.5, 0.9][one.number])
    assert "not distinguishable" not in run("compare", "tiny", "--home", str(tmp_path))[1]


def test_really_trained_runs_are_judged_on_test_images_and_mirrored(trained_sweep, tmp_path):
    plan = make_plan(trained_sweep, top=1, num_seeds=2, baselines=["standard"])
    ledger = ConfirmLedger(trained_sweep, plan)
    train_really(ledger)
    records = read_records(trained_sweep, ["confirm"])
    assert [record.state for record in records] == ["complete"] * 4
    said: list[str] = []
    evaluate_runs(trained_sweep, records, ledger.files, tier="rank", num_images=30, workers=1, tell=said.append)
    evaluate_runs(trained_sweep, records, ledger.files, tier="rank", num_images=30, workers=1, tell=said.append)
    assert said[-1] == "4 of 4 runs are evaluated already"
    found = write_confirmation(trained_sweep, plan, records, "rank", ledger.record_result)
    assert (found.images, found.validation_images, len(found.configurations)) == (30, 30, 2)

    for _ in range(2):  # the second time changes nothing
        mirror_now(trained_sweep, Console(quiet=True), with_runs=False)
        client = MlflowClient(tracking_uri(tmp_path))
        (experiment,) = [one for one in client.search_experiments() if one.name == "adversarial-tuner"]
        runs = {one.data.tags["tuner.run"]: one for one in client.search_runs([experiment.experiment_id])}
        assert len(runs) == 1 + 4 + 4 + 2
        of_configurations = {one.name: runs[f"configuration-{one.name}"] for one in found.configurations}
        for one in found.configurations:
            shown, mean = of_configurations[one.name], one.test["robust"]
            assert shown.data.metrics["test/robust/mean"] == mean.mean
            assert shown.data.metrics["test/robust/low"] == max(mean.low, 0.0)
            assert shown.data.metrics["test/robust/n"] == 2
            assert shown.data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id
            assert shown.data.params == {**shown.data.params, "trainable": one.settings["trainable"]}
        winner = of_configurations[found.winner]
        assert winner.data.metrics["p/standard"] == found.differences[0].p_corrected
        assert winner.data.metrics["lead/standard/mean"] == found.differences[0].mean
        assert winner.data.tags["mlflow.note.content"] == "\n\n".join(confirmation_sentences(found))
        for record in records:
            mirrored = runs[record.run.key]
            assert mirrored.data.tags["tuner.kind"] == "confirm"
            assert mirrored.data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id
            verdict = json.loads((record.run.folder / "test.json").read_text())
            assert mirrored.data.metrics["test/robust"] == verdict["metrics"]["robust"]
        parent = runs["sweep"]
        assert parent.data.tags["tuner.confirmed"] == (found.winner if is_confirmed(found) else "none")
        assert parent.data.metrics["confirm/lead/standard"] == found.differences[0].mean
        note = parent.data.tags["mlflow.note.content"]
        assert note.index(confirmation_sentences(found)[0]) < note.index("The search itself:")
        assert f"viewStateShareKey={trained_sweep.id}-seeds" in note
        assert f"mlflow.sharedViewState.{trained_sweep.id}-seeds" in experiment.tags
        assert "confirm.json" in [file.path for file in client.list_artifacts(parent.info.run_id)]
        assert len(client.get_metric_history(parent.info.run_id, "confirm/seeds")) == 1

    bundle = export_run(read_snapshot(trained_sweep), tmp_path / "bundle")
    origin = json.loads((bundle / "provenance.json").read_text())
    assert origin["run"] == found.run
    assert origin["confirmed"]["winner"] == found.winner
    assert origin["confirmed"]["is_better_than_each_baseline"] == is_confirmed(found)
    card = (bundle / "model_card.md").read_text()
    assert all(f"\n- {sentence}\n" in card for sentence in confirmation_sentences(found))
