"""The command line in-process: what is refused, with which words, and that nothing is left behind."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import typer
from rich.console import Console

from search_spaces.configurations import assigned_space, parse_space
from search_spaces.errors import SpaceError
from search_spaces.library import names, text_of
from tests.tuner.conftest import SPACE, train_all
from trainables.config import parse
from trainables.networks.classifiers import small_cnn
from trainables.training.machine import runtime
from trainables.training.published import PUBLISHED
from tuner import Sweep
from tuner.cli.app import app
from tuner.cli.options import JOB_VARIABLE
from tuner.errors import UserError
from tuner.execution.driver import Ending
from tuner.execution.launch import LaunchOptions, new_sweep
from tuner.execution.single import read_configuration
from tuner.results.terminal.output import SWEEP_COMMANDS
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.tracking.server import EXPERIMENT, connect, quiet_mlflow

BAD = {
    "a space that is not there": (["launch", "qick"], ["neither a file nor a packaged", "'quick'"]),
    "an unknown key": (["launch", "unknown.yaml"], ["unknown.yaml:", "unknown key 'budgit'", "did you mean 'budget'"]),
    "an impossible range": (["launch", "range.yaml"], ["range.yaml:", "must be less than or equal to 1, not 1.5"]),
    "a range that is none, told with brackets": (["launch", "one_end.yaml"], ["float takes [low, high], not 3"]),
    "an output that cannot be written": (["train", "standard", "--output", "range.yaml/x/y"], ["--output"]),
    "a path with brackets": (["launch", "nowhere[/bold].yaml"], ["nowhere[/bold].yaml"]),
    "broken YAML": (["launch", "broken.yaml"], ["broken.yaml:"]),
    "more GPUs for a run than one": (
        ["launch", "gpu.yaml"],
        ["must be at most 1, not 99", "99 GPUs train as many"],
    ),
    "a GPU that is not there": (["launch", "digits", "--device", "cuda:77"], ["cuda:77 is not there", "(cpu)"]),
    "a device that is none": (
        ["launch", "digits", "--device", "gpu"],
        ["auto, cpu, cuda or one like cuda:1, not"],
    ),
    "GPUs on a processor": (["launch", "digits", "--device", "cpu", "--gpus", "2"], ["contradict each other"]),
    "more CPUs than there are": (["launch", "cpu.yaml"], ["asks for 9999, this machine has"]),
    "a bad name": (["launch", "digits", "--name", "../up"], ["must be 1 to 63"]),
    "a home below a file": (["launch", "digits", "--home", "range.yaml/home"], ["--home"]),
    "data that is not there": (["launch", "quick", "--data", "nowhere"], ["nowhere"]),
    "data that is damaged": (["launch", "quick", "--data", "damaged"], ["damaged", "SHA-256"]),
    "an option before its command": (["--home", "x", "status"], ["--home goes after the command"]),
    "an option with its value before its command": (["--format=json", "status"], ["--format goes after the"]),
    "an option that no command has": (["--hme", "x", "status"], ["No such option: --hme"]),
    "a sweep that is not there": (["resume", "nothing"], ["no sweep named 'nothing'"]),
    "a sweep to compare that is not there": (["compare", "nothing"], ["no sweep named 'nothing'"]),
    "a sweep to export that is not there": (["export", "nothing"], ["no sweep named 'nothing'"]),
    "a sweep to evaluate that is not there": (["evaluate", "nothing"], ["no file or folder", "no sweep named"]),
    "a former name of a command": (["judge", "nothing"], ["`tuner evaluate`", "no sweep named 'nothing'"]),
    "a name that is too long for a file": (["evaluate", "a" * 300], ["no file or folder", "must be 1 to 63"]),
    "processes for a file": (["evaluate", "net.pt", "--workers", "2"], ["--workers cannot be used here"]),
    "an architecture of a folder": (["evaluate", ".", "--architecture", "mlp"], ["only for the file of a state_dict"]),
    "AutoAttack without its tier": (["evaluate", "net.pt", "--autoattack"], ["add --tier final"]),
    "weights of another net": (["evaluate", "net.pt"], ["nearest one: missing 2.weight", "unexpected 9.weight"]),
    "weights that are none": (["evaluate", "range.yaml"], ["no state dict that can be read safely"]),
    "an epsilon outside the box": (["evaluate", "net.pt", "--epsilon", "1.5"], ["epsilon"]),
    "an epsilon of nothing": (["evaluate", "net.pt", "--epsilon", "0"], ["--epsilon must be above 0"]),
    "an epsilon that is no number": (["evaluate", "net.pt", "--epsilon", "8/0"], ["8/0 divides by zero"]),
    "a dataset that is none": (
        ["evaluate", "net.pt", "--dataset", "imagenet"],
        ["mnist, fashion_mnist, cifar10, cifar100, digits"],
    ),
    "a sweep to draw that is not there": (["draw", "nothing"], ["no sweep named 'nothing'"]),
    "a key that is set and unknown": (
        ["launch", "digits", "--set", "budgit.trials=2"],
        ["--set", "did you mean 'budget'?"],
    ),
    "a setting that is set and unknown": (
        ["launch", "digits", "--set", "generator.widht=3"],
        ["digits.yaml with --set: parameters.generator.widht: unknown key", "did you mean 'width'?"],
    ),
    "a value that is set and impossible": (
        ["launch", "digits", "--set", "budget.trials=-1", "--set", "generator.width=x"],
        [
            "budget.trials: must be greater than or equal to 1, not -1",
            "generator.width: must be a valid integer, not 'x'",
        ],
    ),
    "a key below a value": (["launch", "digits", "--set", "budget.trials.x=1"], ["no key can stand below it"]),
    "no assignment": (["launch", "digits", "--set", "generator"], ["takes KEY=VALUE"]),
    "broken YAML that is set": (["launch", "digits", "--set", "generator.width={"], ["not valid YAML"]),
    "a file of no format": (["spaces", "list", "--output", "spaces.doc"], [".csv, .json, .parquet, .txt"]),
    "two formats": (["spaces", "list", "-o", "a.csv", "--format", "json"], ["leave one of them out"]),
    "Parquet on a terminal": (["status", "--format", "parquet"], ["name a file with --output"]),
    "a key without those before it": (
        ["launch", "quick", "--set", "trials=4"],
        ["'trials'; did you mean budget.trials?"],
    ),
    "a setting without its group": (
        ["train", "gan", "--set", "learning_rate=1"],
        ["did you mean classifier.learning_rate or generator.learning_rate?"],
    ),
    "a table into an object store": (["status", "-o", "s3://b/a.csv"], ["s3://b/a.csv is a URL", "on this machine"]),
    "a bundle into an object store": (["export", "x", "-o", "gs://b"], ["gs://b is a URL"]),
    "a picture into an object store": (["spaces", "show", "quick", "--picture", "s3://b/a.png"], ["s3://b/a.png is a"]),
    "a sweep to delete that is not there": (["delete", "nothing", "--yes"], ["no sweep named 'nothing'"]),
    "no trials": (["launch", "digits", "--trials", "0"], ["--trials"]),
    "too many trials": (["launch", "digits", "--trials", "9" * 18], ["--trials", "1000000"]),
    "too many images": (["evaluate", "digits", "--images", "9" * 18], ["--images", "60000"]),
    "too many seeds": (["confirm", "digits", "--seeds", "9" * 18], ["--seeds", "1000"]),
    "no whole number": (["launch", "digits", "--trials", "9" * 9000], ["--trials"]),
    "no runs at once": (["launch", "digits", "--max-concurrent", "0"], ["--max-concurrent"]),
    "an unknown option": (["launch", "digits", "--nmae", "a"], ["--nmae"]),
    "an unknown command": (["lunch"], ["lunch"]),
    "a folder that is no bundle": (["evaluate", "."], ["is no bundle"]),
    "a picture of a published configuration": (["spaces", "show", "wong_2020", "--picture", "a.png"], ["of a space"]),
    "half a schedule": (["train", "gan", "--set", "classifier.learning_rate.kind=linear"], ["values is required"]),
    "an unknown trainable": (["train", "gann"], ["'gann'", "did you mean 'gan'?"]),
    "an unknown published configuration": (["train", "wong_2002"], ["did you mean 'wong_2020'?", "madry_2018"]),
    "a published configuration with a mistake over it": (
        ["train", "wong_2020", "--set", "attack.epsilon=2"],
        ["attack.epsilon must be less than or equal to 1, not 2: pixels are from 0 to 1; did you mean 2/255?"],
    ),
    "settings of all kinds": (
        ["train", "gan", "--set", "batch_size=0", "--set", "classifier.learning_rat=1"],
        ["batch_size: must be greater", "did you mean 'learning_rate'"],
    ),
    "an unknown dataset": (["data", "imagenet"], ["imagenet", "mnist"]),
    "a UI without sweeps": (["ui"], ["there are no sweeps"]),
}


@pytest.mark.parametrize("what", BAD)
def test_mistakes_are_refused_in_words_and_leave_nothing(run, tmp_path, what):
    (tmp_path / "unknown.yaml").write_text(SPACE.replace("budget:", "budgit:"))
    (tmp_path / "range.yaml").write_text(
        SPACE.replace("{float: [1.0e-4, 1.0e-2], log: true}", "1.0e-3\n    warmup: 1.5")
    )
    (tmp_path / "one_end.yaml").write_text(SPACE.replace("{float: [1.0e-4, 1.0e-2], log: true}", "{float: 3}"))
    (tmp_path / "broken.yaml").write_text("name: [")
    (tmp_path / "gpu.yaml").write_text(SPACE + "resources: {gpu: 99}\n")
    (tmp_path / "cpu.yaml").write_text(SPACE + "resources: {cpu: 9999}\n")
    (tmp_path / "damaged").mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "damaged" / f"{name}-ubyte").write_bytes(b"no images")
    weights = small_cnn((1, 28, 28), 10).state_dict()
    weights["9.weight"] = weights.pop("2.weight")
    torch.save(weights, tmp_path / "net.pt")
    before = sorted(tmp_path.rglob("*"))
    arguments, expected = BAD[what]
    code, output = run(*arguments)
    assert code == 2
    assert "Traceback" not in output
    for fragment in expected:
        assert fragment in output.replace("\n", " ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_precision_that_the_machine_lacks_is_refused_in_words(run, monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "has_bfloat16", lambda device: False)
    settings = ("--set", "dataset.name=digits", "--set", "dataset.validation=9", "--set", "precision=bfloat16")
    code, output = run("train", "standard", *settings, "--output", "model")
    assert code == 2
    assert "set precision to float32" in output.replace("\n", " ")
    assert not (tmp_path / "model").exists()


def test_a_taken_name_is_refused_with_the_way_on(run, make_sweep):
    make_sweep()
    code, output = run("launch", "digits", "--name", "tiny", "--home", ".")
    assert code == 2
    assert "`tuner resume tiny`" in output


def test_commands_that_are_named_have_the_home_that_was_typed(run_typed, tmp_path, monkeypatch):
    home = tmp_path / "a home"
    train_all(Ledger(SweepFolder.create("tiny", SPACE, "tiny.yaml", home=home)))
    for option in (f"--home={home}", f"--storage={home}"):
        assert f"`tuner confirm tiny --home '{home}'`" in run_typed("compare", "tiny", option)[1]
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    assert "`tuner confirm tiny`" in run_typed("compare", "tiny", f"--home={home}")[1], "it is that of the cluster"
    monkeypatch.delenv(JOB_VARIABLE)
    monkeypatch.setenv("TUNER_HOME", str(home))
    assert "`tuner confirm tiny`" in run_typed("compare", "tiny")[1]


def test_a_run_that_is_not_there_is_refused_with_the_nearest_and_the_first_of_many(run, make_sweep):
    train_all(Ledger(make_sweep(num_trials=15)))
    assert run("show", "tiny", "trial-2", "--home", ".")[1].startswith("trial-0002 of tiny")
    code, output = run("show", "tiny", "standrad", "--home", ".")
    words = " ".join(output.split())
    assert code == 2
    assert "no run 'standrad' in 'tiny'; did you mean 'standard'? Its runs: standard, fgsm_retraining" in words
    assert words.endswith("trial-0009 and 5 others")


def test_sentences_know_which_commands_take_a_home():
    commands = typer.main.get_command(app).commands
    taking = {name for name in commands if any(option.name == "home_folder" for option in commands[name].params)}
    assert taking - {"judge"} == set(SWEEP_COMMANDS)


def test_without_a_token_nothing_is_driven_unless_that_is_typed(run, make_sweep, monkeypatch, tmp_path):
    make_sweep("here")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for command in (["launch", "digits"], ["resume", "here"], ["confirm", "here"]):
        code, output = run(*command, "--home", str(tmp_path))
        assert (code, "only with --insecure" in output) == (2, True), output
        assert not (tmp_path / "digits").exists()
    for call in (lambda: Sweep.launch("digits", home=tmp_path), Sweep.open("here", home=tmp_path).resume):
        with pytest.raises(UserError, match="only with --insecure"):
            call()
    asked = []

    def drive(*arguments, insecure, **options):
        asked.append(insecure)
        return Ending()

    monkeypatch.setattr("tuner.execution.search.drive", drive)
    Sweep.open("here", home=tmp_path).resume(insecure=True)
    run("resume", "here", "--home", str(tmp_path), "--insecure")
    assert asked == [True] * 2


def test_status_of_all_and_of_one(run, make_sweep):
    assert "`tuner launch quick` starts one" in run("status", "--home", "none")[1]
    train_all(Ledger(make_sweep("one")))
    make_sweep("two")
    output = run("status", "--home", ".")[1]
    one, two = (line.split() for line in output.splitlines()[3:])
    assert one == ["one", "completed", "4", "of", "4", "trials", "complete;", "2", "baselines", "40.0", "trial-0003"]
    begun = "0 of 4 trials complete, 4 to come; 0 of 2 baselines complete, 2 to come"
    assert two == f"two interrupted {begun} - -".split()
    alone = run("status", "one", "--home", ".")[1]
    assert "one: completed, 4 of 4 trials complete; 2 baselines, best trial-0003 robust 40.0" in alone
    rows = json.loads(run("status", "--home", ".", "--format", "json")[1])
    assert [(row["name"], row["num_trials"], row["num_baselines"]) for row in rows] == [("one", 4, 2), ("two", 4, 2)]


def test_compare_as_table_csv_json_and_picture(run, make_sweep):
    train_all(Ledger(make_sweep()))
    code, output = run("compare", "tiny", "--home", ".", "--picture", "accuracy.png")
    assert code == 0
    assert "trial-0003 *" in output
    assert Path("accuracy.png").read_bytes().startswith(b"\x89PNG")
    lines = run("compare", "tiny", "--home", ".", "--format", "csv")[1].splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("run,kind,trainable,schedule,state")
    said = json.loads(run("compare", "tiny", "--home", ".", "--format", "json")[1])
    assert (said["sweeps"], said["runs"][0]["run"], said["confirmation"]) == (["tiny"], "trial-0003", None)
    assert said["sentences"][0] in output
    assert len(said["sentences"]) > 3
    assert run("compare", "tiny", "--home", ".", "--picture", "nowhere/a.png")[0] == 2


def test_draw_says_where_and_what_is_missing_without_ray_and_mlflow(run, trained_sweep, monkeypatch):
    for name in ("ray", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
    shutil.rmtree(trained_sweep.folder / "baselines" / "standard" / "checkpoint")
    code, output = run("draw", "real", "--home", ".", "--run", "fgsm_retraining")
    assert code == 2
    folder = Path("pictures", "real-baseline-fgsm_retraining").absolute()
    names = ("accuracy_by_epsilon.png", "examples.png", "training.png")
    lines = output.splitlines()
    assert lines[:3] == [str(folder / name) for name in names]
    assert lines[3].startswith("not drawn: images under attack and accuracy by epsilon of baseline-standard")
    assert sorted(path.name for path in folder.iterdir()) == list(names)
    code, output = run("draw", "real", "--home", ".", "--run", "fgsm_retraining")
    assert (code, "remove it or choose another --output" in output) == (2, True)
    code, output = run("draw", "real", "--home", ".", "--run", "17")
    assert (code, "no run '17' in 'real'" in output) == (2, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_sync_rebuilds_mlflow_and_says_when_it_cannot(run, make_sweep, monkeypatch):
    train_all(Ledger(make_sweep()))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, output = run("sync", "tiny", "--home", ".")
    assert code == 2
    assert "MLflow at http://127.0.0.1:9 cannot be written" in output
    assert "Traceback" not in output
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert "MLflow has every run of tiny" in run("sync", "tiny", "--home", ".")[1]


def test_spaces_are_listed_checked_and_shown(run):
    listed = run("spaces", "list")[1]
    for name in ("quick", "paper", "gan", "fgsm_retraining"):
        assert name in listed
        assert "fine" in run("spaces", "check", name)[1]
    assert run("spaces", "show", "quick")[1].startswith("#")


def test_several_spaces_are_checked_at_once_and_all_their_mistakes_listed(run, tmp_path):
    (tmp_path / "one.yaml").write_text("name: [\n")
    (tmp_path / "two.yaml").write_text("trainable: gann\n")
    code, said = run("spaces", "check", str(tmp_path / "one.yaml"), "quick", str(tmp_path / "two.yaml"), "pgd")
    assert code == 2
    assert ["quick: fine" in said, "pgd: fine" in said] == [True, True]
    assert re.search(r"error: \S*one.yaml:\d+: not valid YAML", said)
    assert "unknown trainable 'gann'" in said


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_listed_shown_and_read(run, name):
    assert name in run("spaces", "list")[1]
    source, _, text = run("spaces", "show", name)[1].partition("\n")
    assert source == f"# {PUBLISHED[name].source}"
    assert json.loads(text) == PUBLISHED[name].settings
    settings = read_configuration(name, ["seed=3", "classifier.learning_rate=0.5"])
    expected = {**PUBLISHED[name].settings, "seed": 3}
    expected["classifier"] = {**expected.get("classifier", {}), "learning_rate": 0.5}
    assert settings == parse(expected).model_dump(mode="json")
    assert "seed" not in PUBLISHED[name].settings


def test_fractions_are_numbers_wherever_a_setting_is_assigned():
    radii = ["attack.epsilon=8/255", 'evaluation.epsilon="8/255"']
    assert read_configuration("pgd", radii[:1])["attack"]["epsilon"] == 8 / 255
    with pytest.raises(SpaceError, match="must be a valid number"):
        read_configuration("pgd", radii)
    linear = 'generator.perturbation_bound={"kind": "linear", "values": [0, 8/255]}'
    assert read_configuration("gan", [linear])["generator"]["perturbation_bound"]["values"] == [0, 8 / 255]


def test_trials_cannot_be_fewer_than_there_are(run, make_sweep):
    make_sweep()
    code, output = run("resume", "tiny", "--home", ".", "--trials", "2")
    assert code == 2
    assert "must not be below the sweep's 4" in output


def test_values_that_are_set_are_in_the_space_of_the_sweep(tmp_path):
    options = LaunchOptions(assignments=["budget.trials=7", "generator.width=8", "classifier={weight_decay: 1/8}"])
    sweep = new_sweep("digits", tmp_path, Console(quiet=True), options)
    assert sweep.num_trials == 7
    fixed = {one.name: one.domain for one in sweep.space.parameters}
    assert fixed["generator.width"].value == 8
    text = (sweep.folder / "space.yaml").read_text()
    assert "# as launched, with --set budget.trials=7 --set generator.width=8" in text
    before = text_of("digits")[0]
    assert next(line for line in before.splitlines() if line.startswith("#")) in text
    assert assigned_space(before, "digits.yaml", []) == before


@pytest.mark.parametrize("name", names())
def test_every_packaged_space_keeps_its_meaning_when_a_value_is_set(name):
    text, source = text_of(name)
    again = parse_space(assigned_space(text, source, ["description=other"]), source)
    assert again == parse_space(text, source).model_copy(update={"description": "other"})


def test_a_sweep_is_deleted_whole_and_only_after_a_yes(run, make_sweep, monkeypatch, tmp_path):
    sweep = make_sweep()
    train_all(Ledger(sweep))
    make_sweep("other")
    code, output = run("delete", "tiny", "--home", ".")
    assert (code, "`tuner delete tiny --yes`" in output) == (2, True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with sweep.lock():
        code, output = run("delete", "tiny", "--home", ".", "--yes")
        assert (code, "is being run by process" in output) == (2, True)
    assert sweep.folder.is_dir()
    assert "tiny is deleted: 6 runs" in run("delete", "tiny", "--home", ".", "--yes")[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]
    assert "other" in run("status", "--home", ".")[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_deleted_sweep_is_gone_from_mlflow_and_no_other(run, make_sweep, monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("tiny", "other"):
        make_sweep(name, num_trials=1)
        run("sync", name, "--home", ".")
    run("delete", "tiny", "--home", ".", "--yes")
    with quiet_mlflow():
        client = connect(tmp_path)
        runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert {found.data.tags["tuner.sweep"] for found in runs} == {"other"}


def test_sweeps_are_compared_with_each_other_if_their_numbers_can_be(run, make_sweep):
    for name, replaced in {
        "one": ("compute: 3", "compute: 3"),
        "two": ("compute: 3", "compute: 4"),
        "closer": ("epsilon", "epsilon"),
        "epsilon": ("evaluation: {", "evaluation: {epsilon: 0.1, "),
        "split": ("validation: 200", "validation: 300"),
    }.items():
        train_all(Ledger(make_sweep(name, replace=replaced, num_trials=1)))
    code, output = run("compare", "one", "two", "--home", ".")
    assert code == 0
    assert "Mind that they differ in compute per run: one 3, two 4." in output
    assert "which is within the noise of 100 validation images" in output
    said = json.loads(run("compare", "one", "two", "--home", ".", "--format", "json")[1])
    assert {row["sweep"] for row in said["runs"]} == {"one", "two"}
    assert all(sentence in output for sentence in said["sentences"])
    for other, told in {
        "epsilon": "epsilons differ (one 0.3, epsilon 0.1)",
        "split": "validation images differ",
    }.items():
        code, output = run("compare", "one", other, "--home", ".")
        assert (code, told in output) == (2, True), output


def test_a_table_is_cut_sorted_and_written_as_its_suffix_says(run, make_sweep, tmp_path):
    train_all(Ledger(make_sweep()))
    by_compute = ("compare", "tiny", "--home", ".", "--sort", "-robust", "--top", "2", "--columns", "run,robust")
    rows = json.loads(run(*by_compute, "--format", "json")[1])["runs"]
    assert [row["run"] for row in rows] == ["baseline-standard", "trial-0000", "baseline-fgsm_retraining", "trial-0001"]
    assert rows[0].keys() == {"run", "robust"}
    for suffix, read in {"csv": pd.read_csv, "parquet": pd.read_parquet}.items():
        assert run(*by_compute, "-o", f"table.{suffix}")[1].strip() == f"table.{suffix}"
        assert len(read(tmp_path / f"table.{suffix}")) == 4
    assert run(*by_compute, "-o", "table.json")[1].strip() == "table.json"
    assert json.loads((tmp_path / "table.json").read_text())["runs"] == rows
    run(*by_compute, "-o", "table.txt")
    assert "trial-0000" in (tmp_path / "table.txt").read_text()
    code, output = run("compare", "tiny", "--home", ".", "--sort", "robusd")
    assert (code, "did you mean 'robust'?" in output) == (2, True)


def test_all_that_is_known_of_a_run_is_shown(run, make_sweep):
    train_all(Ledger(make_sweep()))
    text = run("show", "tiny", "--home", ".")[1]
    assert text.startswith("trial-0003 of tiny: gan ")
    assert "complete, the best trial" in text
    about = json.loads(run("show", "tiny", "standard", "--home", ".", "--format", "json")[1])
    assert (about["run"], about["best"], len(about["reports"])) == ("baseline-standard", False, 3)
    assert about["settings"]["trainable"] == "standard"
    assert run("show", "tiny", "17", "--home", ".")[0] == 2


def test_a_dry_run_says_what_would_run_and_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tuner.execution.estimate._MEASURED_S", 0.1)
    code, output = run("launch", "digits", "--dry-run", "--name", "first", "--set", "budget.trials=7")
    assert code == 0, output
    assert "Would launch first in" in output
    assert "7 trials of gan" in output
    assert re.search(r"time: (at most )?\d+ \w+, \d+ \w+ per trial", output)
    assert re.search(r"memory: about \d+\.\d GB", output)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert "on: the Ray cluster" in run("launch", "digits", "--dry-run")[1]
    assert run("launch", "digits", "--dry-run", "--set", "budget.trials=0")[0] == 2
    refused, message = run("launch", "digits", "--dry-run", "--warm-start", "earlier")
    assert refused == 2
    assert "no sweep named 'earlier'" in message
    sampler = "search.sampler={class: 'optuna.samplers:BruteForceSampler'}"
    refused, message = run("launch", "digits", "--dry-run", "--set", sampler)
    assert refused == 2
    assert "cannot draw from this space" in message
