"""Pictures of a really trained sweep: which are made, what they are given, and what is said of those that cannot be."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tests.tuner.conftest import STEPS, row
from trainables.evaluation.epsilon_curve import accuracy_by_epsilon
from trainables.judging import examples
from trainables.judging.examples import load_run_dataset, render_examples
from tuner.errors import UserError
from tuner.results.pictures import figures as pictures
from tuner.results.pictures.draw import draw_run, draw_sweep, write_pictures
from tuner.search.ledger import Ledger
from tuner.sweep.ranking import best
from tuner.sweep.reader import read_records
from tuner.sweep.runs import read_metrics
from tuner.sweep.snapshot import read_snapshot


@pytest.fixture
def given(monkeypatch):
    """Return what the figures are made of, by their kind; they are made all the same."""
    noted: dict[str, list[tuple]] = {"comparison": [], "training": [], "by_epsilon": [], "examples": [], "success": []}

    def note(kind, make):
        def noting(*arguments):
            noted[kind].append(arguments)
            return make(*arguments)

        return noting

    for kind in noted:
        monkeypatch.setattr(pictures, kind, note(kind, getattr(pictures, kind)))
    return noted


def winner_of(sweep):
    return best(read_records(sweep), "max")


def test_a_run_is_drawn_from_its_metrics_and_its_checkpoint(trained_sweep, tmp_path, given):
    winner = winner_of(trained_sweep)
    drawn = draw_run(read_snapshot(trained_sweep, with_rows=True), winner, tmp_path)
    assert drawn.missing == []
    names = {key: [path.name for path in paths] for key, paths in drawn.files.items()}
    of_run = ["training.png", "examples.png", "success.png"]
    assert names == {winner.run.key: of_run, "sweep": ["accuracy_by_epsilon.png"]}
    for path in (path for paths in drawn.files.values() for path in paths):
        assert path.read_bytes().startswith(b"\x89PNG")
    ((title, rows, generator_loss),) = given["training"]
    assert rows == read_metrics(winner.run)
    assert generator_loss == "wrongness"
    who = f"real {winner.run.key} ({winner.run.label})"
    assert title == f"{who}\ndigits, epsilon 0.2, 20 validation images, 30 at the end"
    ((title, seen),) = given["examples"]
    assert title.startswith(f"{who}\ndigits, epsilon 0.2, 10 validation images")
    expected = render_examples(
        winner.run.settings, trained_sweep.last_checkpoint(winner), load_run_dataset(winner.run.settings)
    )
    assert (seen.clean.images == expected.clean.images).all()
    assert seen.perturbed["generator"].predicted == expected.perturbed["generator"].predicted
    ((title, curves, epsilon, num_images, norm),) = given["by_epsilon"]
    assert norm == "linf"
    assert list(curves) == [f"best trial: {winner.run.label}", "standard", "fgsm_retraining"]
    assert curves[f"best trial: {winner.run.label}"] == expected.accuracy_by_epsilon
    assert (epsilon, num_images) == (0.2, 200)
    ((of_success, rates, classes),) = given["success"]
    assert of_success == f"{who}\ndigits, epsilon 0.2, 200 validation images under the generator"
    assert (rates == expected.success).all()
    assert list(classes) == [str(digit) for digit in range(10)]
    assert title == "real\ndigits, 200 validation images, PGD with 40 steps"


def test_another_run_is_drawn_beside_the_best(trained_sweep, tmp_path, given):
    winner = winner_of(trained_sweep)
    (other,) = (r for r in read_records(trained_sweep) if r.run.kind == "trial" and r.run.key != winner.run.key)
    draw_run(read_snapshot(trained_sweep, with_rows=True), other, tmp_path)
    ((_, curves, *_),) = given["by_epsilon"]
    assert list(curves)[:2] == [f"{other.run.key}: {other.run.label}", f"best trial: {winner.run.label}"]


def test_a_baseline_is_drawn_once_and_has_no_generator(trained_sweep, tmp_path, given):
    record = read_records(trained_sweep)[0]
    draw_run(read_snapshot(trained_sweep, with_rows=True), record, tmp_path)
    assert given["training"][0][2] is None
    assert set(given["examples"][0][1].perturbed) == {"FGSM"}
    assert [name for name in given["by_epsilon"][0][1] if name == "standard"] == ["standard"]


def test_a_sweep_is_drawn_with_its_best_trial_and_its_baselines(trained_sweep, tmp_path, given):
    drawn = draw_sweep(read_snapshot(trained_sweep, with_rows=True), tmp_path)
    keys = [winner_of(trained_sweep).run.key, "baseline-standard", "baseline-fgsm_retraining"]
    assert list(drawn.files) == ["sweep", *keys]
    assert {kind: len(calls) for kind, calls in given.items()} == {
        "comparison": 1,
        "training": 3,
        "by_epsilon": 1,
        "examples": 3,
        "success": 1,
    }
    for key in keys:
        generators = ["success.png"] if key.startswith("trial") else []
        assert drawn.files[key] == [tmp_path / key / name for name in ("training.png", "examples.png", *generators)]
    title, named, others = given["comparison"][0]
    assert title == "real\ndigits, epsilon 0.2, 20 validation images, 30 at the end"
    assert (len(named), len(others)) == (3, 1)


def test_accuracy_by_epsilon_is_measured_once(trained_sweep, tmp_path, given, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    measured = []

    def measure(*arguments):
        measured.append(arguments)
        return accuracy_by_epsilon(*arguments)

    monkeypatch.setattr(examples, "accuracy_by_epsilon", measure)
    snapshot = read_snapshot(trained_sweep, with_rows=True)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        draw_sweep(snapshot, tmp_path / name)
    assert len(measured) == 3
    first, second = (curves for _, curves, *_ in given["by_epsilon"])
    assert first == second


def test_a_sweep_alone_is_drawn_from_its_metrics(trained_sweep, tmp_path, given):
    assert draw_sweep(read_snapshot(trained_sweep, with_rows=True), tmp_path, with_runs=False).files == {
        "sweep": [tmp_path / "comparison.png"]
    }
    assert given["examples"] == []


def test_an_empty_sweep_has_no_pictures(make_sweep, tmp_path):
    drawn = draw_sweep(read_snapshot(make_sweep(), with_rows=True), tmp_path)
    assert (drawn.files, drawn.missing) == ({}, [])


class TestWhatIsNotThere:
    def test_a_checkpoint(self, trained_sweep, tmp_path, given):
        record = read_records(trained_sweep)[0]
        shutil.rmtree(record.run.folder / "checkpoint")
        folder, missing = write_pictures(read_snapshot(trained_sweep, with_rows=True), tmp_path / "out", "standard")
        assert sorted(path.name for path in folder.iterdir()) == ["accuracy_by_epsilon.png", "training.png"]
        assert "standard" not in given["by_epsilon"][0][1]
        (text,) = missing
        assert text.startswith("images under attack and accuracy by epsilon of baseline-standard: the checkpoint of")
        assert text.endswith("`tuner resume real --repair` trains baseline-standard again")

    def test_the_last_checkpoint_though_an_older_one_is_there(self, trained_sweep, tmp_path, given):
        last = trained_sweep.folder / "trials" / "0001" / "checkpoint" / "00000002"
        (last / "tensors.safetensors").write_bytes(b"half")
        folder, missing = write_pictures(read_snapshot(trained_sweep, with_rows=True), tmp_path / "out", "1")
        assert "examples.png" not in {path.name for path in folder.iterdir()}
        assert given["examples"] == []
        (text,) = missing
        assert f"{last}, cannot be used" in text

    def test_a_checkpoint_that_can_be_read(self, trained_sweep, tmp_path):
        for path in trained_sweep.folder.glob("*/*/checkpoint/*/tensors.safetensors"):
            path.write_bytes(b"nothing")
        folder, missing = write_pictures(read_snapshot(trained_sweep, with_rows=True), tmp_path / "out")
        assert [path.name for path in folder.iterdir()] == ["training.png"]
        assert len(missing) == 3
        assert all("checksum of tensors.safetensors does not match" in text for text in missing)

    def test_the_dataset(self, make_sweep, tmp_path):
        (tmp_path / "data").mkdir()
        sweep = make_sweep(replace=("name: digits, validation: 200", "name: mnist, validation: 200"))
        ledger = Ledger(sweep)
        ledger.complete(ledger.next_run().key, row(STEPS))
        sweep = replace(sweep, data=str(tmp_path / "data"))
        folder, missing = write_pictures(read_snapshot(sweep, with_rows=True), tmp_path / "out", "standard")
        assert [path.name for path in folder.iterdir()] == ["training.png"]
        assert len(missing) == 1
        assert str(tmp_path / "data") in missing[0]

    def test_anything_to_draw(self, make_sweep, tmp_path):
        sweep = make_sweep()
        ledger = Ledger(sweep)
        ledger.fail(ledger.next_run().key, "diverged: classifier_loss is nan")
        with pytest.raises(UserError, match="baseline-standard of 'tiny' failed before it reported"):
            write_pictures(read_snapshot(sweep, with_rows=True), tmp_path / "out", "standard")
        assert not (tmp_path / "out").exists()

    def test_an_end(self, make_sweep, tmp_path):
        sweep = make_sweep()
        ledger = Ledger(sweep)
        ledger.report(ledger.next_run().key, row(1))
        with pytest.raises(UserError, match="is unfinished; it must be complete or pruned or failed"):
            write_pictures(read_snapshot(sweep, with_rows=True), tmp_path / "out", "standard")
        with pytest.raises(UserError, match="tuner resume tiny"):
            write_pictures(read_snapshot(sweep, with_rows=True), tmp_path / "out")


@pytest.mark.parametrize("trouble", ["there already", "below a file"])
def test_a_folder_that_cannot_be_made_is_refused_and_nothing_is_left(trained_sweep, tmp_path, trouble):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / "folder" if trouble == "there already" else tmp_path / "file" / "out"
    with pytest.raises(UserError, match="--output"):
        write_pictures(read_snapshot(trained_sweep, with_rows=True), target)
    assert sorted(tmp_path.rglob("*")) == before
