"""Judging: one classifier from disk, and every run of a sweep, by the strongest attacks; each verdict made once."""

from __future__ import annotations

import json
import shutil
import threading
import time
from unittest.mock import Mock

import pytest
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console

from tests.tuner.conftest import train_really
from trainables.storage.checkpoint import load_newest
from tuner.errors import STOPPED, UserError
from tuner.execution.confirm import ConfirmOptions, ConfirmStage
from tuner.execution.evaluation import complete_runs, evaluate_runs, evaluations_frame
from tuner.results.bundles.export import export_run
from tuner.search.ledger import Ledger
from tuner.sweep import control
from tuner.sweep.control import Control, StopRequested
from tuner.sweep.evaluations import read_evaluation
from tuner.sweep.reader import open_files
from tuner.sweep.snapshot import read_snapshot
from tuner.sweep.status import summarize
from tuner.tracking.server import tracking_uri

# MLflow's libraries warn when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of the module's own: surrogate models are trained once."""
    folder = tmp_path_factory.getbasetemp() / "judging-cache"
    monkeypatch.setenv("TUNER_CACHE", str(folder))


FEW = ["--images", "4"]


def test_every_complete_run_of_a_sweep_is_judged_once(trained_sweep, run, tmp_path):
    code, said = run("evaluate", "real", *FEW, "--home", str(tmp_path), "--workers", "2")
    assert code == 0
    assert "0 of 4 runs are evaluated already" in said
    assert "4 test images" in said
    records = Ledger(trained_sweep).records.values()
    verdicts = {record.run.key: read_evaluation(record.run) for record in records}
    assert len(verdicts) == 4
    for verdict in verdicts.values():
        assert (verdict.split, verdict.images, verdict.epsilon) == ("test", 4, 0.2)
        assert verdict.metrics["robust"] == verdict.attacks[-1].standing

    shown = []
    complete = complete_runs(read_snapshot(trained_sweep))
    files = open_files(trained_sweep, None)
    evaluate_runs(trained_sweep, complete, files, num_images=4, workers=1, tell=shown.append)
    assert shown == ["4 of 4 runs are evaluated already"]
    assert list(evaluations_frame(read_snapshot(trained_sweep, with_evaluations=True))["run"]) == list(verdicts)

    client = MlflowClient(tracking_uri(tmp_path))
    (experiment,) = [one for one in client.search_experiments() if one.name == "adversarial-tuner"]
    mirrored = {one.data.tags["tuner.run"]: one for one in client.search_runs([experiment.experiment_id])}
    for key, verdict in verdicts.items():
        assert mirrored[key].data.metrics["final/robust"] == verdict.metrics["robust"]
        assert mirrored[key].data.tags["tuner.final.masking"] in ("pass", "fail")
        assert [file.path for file in client.list_artifacts(mirrored[key].info.run_id)] == ["final.json"]


def test_other_images_are_judged_anew(trained_sweep):
    record = next(iter(Ledger(trained_sweep).records.values()))
    saved = {"dataset": "digits", "split": "test", "images": 7, "epsilon": 0.2, "metrics": {}, "asked": 7}
    saved["run"] = record.run.key
    (record.run.folder / "final.json").write_text(json.dumps(saved))
    shown = []
    complete = complete_runs(read_snapshot(trained_sweep))
    files = open_files(trained_sweep, None)
    evaluate_runs(trained_sweep, complete, files, num_images=2, workers=1, tell=shown.append)
    assert shown[0] == "0 of 4 runs are evaluated already"
    assert read_evaluation(record.run).images == 2


def test_an_older_copy_of_results_is_noticed_and_evaluated_again(trained_sweep, run, tmp_path):
    def evaluate(images):
        return run("evaluate", "real", "--images", images, "--home", str(tmp_path), "--workers", "1")

    path = trained_sweep.folder / "trials" / "0000" / "final.json"
    contents = []
    for images in ("2", "3"):
        assert evaluate(images)[0] == 0
        contents.append(path.read_bytes())
    damages = {"is not what was written last": lambda: path.write_bytes(contents[0]), "is missing": path.unlink}
    for said, damage in damages.items():
        damage()
        for command in (("show", "real", "0"), ("verify", "real")):
            code, output = run(*command, "--home", str(tmp_path))
            assert (code, f"final.json {said}" in " ".join(output.split())) == (2, True), output
            assert "`tuner evaluate real` evaluates the run again" in " ".join(output.split())
        code, output = evaluate("3")
        assert (code, "3 of 4 runs are evaluated already" in output) == (0, True)
        assert run("verify", "real", "--home", str(tmp_path))[0] == 0
    assert run("copy", "real", "copied", "--home", str(tmp_path))[0] == 0
    assert run("verify", "copied", "--home", str(tmp_path))[0] == 0


def test_a_sweep_without_a_complete_run_has_nothing_to_judge(make_sweep, run, tmp_path):
    Ledger(make_sweep())
    code, said = run("evaluate", "tiny", "--home", str(tmp_path))
    assert code == 2
    assert "no run of 'tiny' has run to the end yet: `tuner resume tiny`" in said


@pytest.mark.parametrize(
    "options",
    [
        ["--tier", "rank"],
        ["--split", "test"],
        ["--epsilon", "0.1"],
        ["--dataset", "digits"],
        ["--architecture", "mlp"],
        ["--data", "."],
    ],
    ids=lambda options: options[0],
)
def test_options_of_a_file_are_refused_for_a_sweep(make_sweep, run, tmp_path, options):
    make_sweep()
    code, said = run("evaluate", "tiny", "--home", str(tmp_path), *options)
    assert code == 2
    assert f"{options[0]}{' rank' if 'rank' in options else ''} cannot be used here" in said
    assert "tiny is a sweep" in said


def test_the_path_is_meant_where_a_file_and_a_sweep_have_the_same_name(make_sweep, run, tmp_path, monkeypatch):
    make_sweep()
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    assert "no run of 'tiny' has run to the end" in run("evaluate", "tiny")[1]  # the folder there is the sweep's
    (tmp_path / "elsewhere" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, said = run("evaluate", "tiny")
    assert (code, "tiny is no bundle" in said) == (2, True)


def test_the_former_name_says_so_and_does_the_same(make_sweep, run, tmp_path):
    Ledger(make_sweep())
    code, said = run("judge", "tiny", "--home", str(tmp_path), "--workers", "1")
    first, _, rest = said.partition("\n")
    assert "`tuner judge` is `tuner evaluate` now" in first
    assert (code, rest) == run("evaluate", "tiny", "--home", str(tmp_path), "--workers", "1")


def test_without_the_last_checkpoint_a_run_is_not_evaluated_even_if_an_older_one_is_there(trained_sweep, run, tmp_path):
    shutil.rmtree(trained_sweep.folder / "baselines" / "standard" / "checkpoint")
    last = trained_sweep.folder / "trials" / "0001" / "checkpoint" / "00000002"
    (last / "tensors.safetensors").write_bytes(b"half")
    code, said = run("evaluate", "real", *FEW, "--home", str(tmp_path), "--workers", "1")
    assert code == 2
    for key, reason in (("baseline-standard", "it is not there"), ("trial-0001", f"{last}, cannot be used")):
        assert reason in said
        assert f"`tuner resume real --repair` trains {key} again" in said
    assert "Traceback" not in said
    assert "2 of 4 runs are evaluated already" in run("evaluate", "real", *FEW, "--home", str(tmp_path))[1]


def test_without_the_last_checkpoint_a_run_is_not_confirmed(trained_sweep):
    options = ConfirmOptions(top=1, num_seeds=2, baselines=["standard"], num_images=4, workers=1)
    stage = ConfirmStage(trained_sweep, None, Console(quiet=True), options)
    train_really(stage.queue)
    damaged = [run for run in (record.run for record in stage.queue.records.values()) if "trial" in run.key][-1]
    last = damaged.folder / "checkpoint" / "00000002"
    assert last.with_name("00000001").is_dir()
    (last / "tensors.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match=f"{damaged.key}: .*{last}, cannot be used"):
        stage.finish(Mock(), Control(trained_sweep))
    assert not (trained_sweep.folder / "confirm.json").exists()


def wait_until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.02)


def once_a_run_is_evaluated(sweep, then):
    """Return a thread, which has begun, that does something as soon as a run has been evaluated."""

    def wait_and_do():
        wait_until(lambda: num_evaluated(sweep) > 0, "a run is evaluated")
        then()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    return thread


def num_evaluated(sweep):
    return len(list(sweep.folder.glob("*/*/final.json")))


def test_a_stop_lets_no_other_run_begin_and_finishes_those_that_are_evaluated(trained_sweep, run, tmp_path):
    evaluate = ("evaluate", "real", "--images", "30", "--home", str(tmp_path), "--workers", "1")
    thread = once_a_run_is_evaluated(trained_sweep, lambda: control.ask(trained_sweep, "stop"))
    code, said = run(*evaluate)
    thread.join()
    assert (code, "Stopped on request; `tuner evaluate real`" in " ".join(said.split())) == (STOPPED, True), said
    before = num_evaluated(trained_sweep)
    assert 0 < before < 4
    assert said.count(" robust on test images") == before, "what had begun was finished"
    assert control.phase_of(trained_sweep) == "stopped"
    code, said = run(*evaluate)
    assert (code, f"{before} of 4 runs are evaluated already" in said) == (0, True), said
    assert num_evaluated(trained_sweep) == 4


def test_a_stop_is_taken_while_all_workers_are_busy(trained_sweep):
    seen, complete = [], complete_runs(read_snapshot(trained_sweep))

    def stop():
        seen.append((control.ask_driver(trained_sweep, "stop"), num_evaluated(trained_sweep)))

    with trained_sweep.lock("evaluate") as study_lock:
        files, taken = open_files(trained_sweep, study_lock), Control(trained_sweep)
        thread = threading.Thread(target=stop)
        on_begin = {"0 of 4 runs are evaluated already": thread.start}
        with pytest.raises(StopRequested):
            evaluate_runs(
                trained_sweep,
                complete,
                files,
                num_images=100,
                workers=1,
                tell=lambda text: on_begin.get(text, lambda: None)(),
                control=taken,
            )
        thread.join()
    assert seen == [(True, 0)], "the request is taken before the first run is done"
    assert num_evaluated(trained_sweep) <= 1


def test_a_pause_waits_until_it_is_resumed(trained_sweep):
    shown, seen, complete = [], [], complete_runs(read_snapshot(trained_sweep))

    def pause_and_resume():
        control.ask(trained_sweep, "pause")
        wait_until(lambda: control.phase_of(trained_sweep) == "paused", "it pauses")
        seen.append((summarize(read_snapshot(trained_sweep)).state, num_evaluated(trained_sweep)))
        control.ask(trained_sweep, "resume")

    with trained_sweep.lock("evaluate") as study_lock:
        files, taken = open_files(trained_sweep, study_lock), Control(trained_sweep)
        thread = once_a_run_is_evaluated(trained_sweep, pause_and_resume)
        evaluate_runs(trained_sweep, complete, files, num_images=30, workers=1, tell=shown.append, control=taken)
        thread.join()
    [(state, evaluated)] = seen
    assert (state, evaluated < 4) == ("paused", True)
    paused = shown.index("Paused: `tuner resume real` goes on, `tuner stop real` ends the driver")
    assert shown[paused + 1] == "Going on"
    assert len(shown) == 1 + 2 + 4
    assert num_evaluated(trained_sweep) == 4


def test_confirming_is_stopped_before_it_evaluates_and_goes_on(trained_sweep):
    options = ConfirmOptions(top=1, num_seeds=2, baselines=["standard"], num_images=4, workers=1)
    taken = Control(trained_sweep)
    control.ask(trained_sweep, "stop")
    wait_until(taken.is_winding_down, "the request is taken")
    stage = ConfirmStage(trained_sweep, None, Console(quiet=True), options)
    train_really(stage.queue)
    with pytest.raises(StopRequested):
        stage.finish(Mock(), taken)
    assert not (trained_sweep.folder / "confirm.json").exists()
    stage.finish(Mock(), Control(trained_sweep))
    assert (trained_sweep.folder / "confirm.json").exists()


def test_a_bundle_under_the_strongest_attacks(trained_sweep, run, tmp_path):
    bundle = export_run(read_snapshot(trained_sweep), tmp_path / "bundle", "standard")
    code, said = run("evaluate", str(bundle), "--tier", "final", *FEW, "--format", "json")
    assert code == 0
    verdict = json.loads(said)["test"]
    assert (verdict["tier"], verdict["images"], verdict["epsilon"]) == ("final", 4, 0.2)
    code, said = run("evaluate", str(bundle), "--tier", "final", *FEW)
    assert code == 0
    for word in ("apgd_targeted", "transfer_pgd", "square", "robust:", "95 %", "PGD by epsilon: 0: ", "masking:"):
        assert word in said


def test_a_state_dict_from_elsewhere_is_judged_by_the_same_ruler(trained_sweep, run, tmp_path):
    bundle = export_run(read_snapshot(trained_sweep), tmp_path / "bundle", "standard")
    record = Ledger(trained_sweep).records["baseline-standard"]
    weights = load_newest(record.run.folder / "checkpoint")["loop"]["classifier"]
    torch.save({name.removeprefix("body."): tensor for name, tensor in weights.items()}, tmp_path / "net.pt")
    options = ["--split", "test", "--images", "50", "--format", "json"]
    _, ours = run("evaluate", str(bundle), *options)
    code, theirs = run("evaluate", "net.pt", "--dataset", "digits", "--epsilon", "0.2", *options)
    assert code == 0
    ours, theirs = (json.loads(said)["test"] for said in (ours, theirs))
    for name in ("clean", "fgsm"):  # the others draw from the seed of their run
        assert ours[name] == theirs[name]
