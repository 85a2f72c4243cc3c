"""Sweeps that earlier releases have written: each opens, compares, exports and goes on, or names what can read it."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.tuner.conftest import train_all
from trainables.storage import checkpoint
from tuner.errors import UserError
from tuner.execution.upkeep.copying import copy_sweep
from tuner.results.bundles.export import export_run
from tuner.results.compare import rank_runs
from tuner.results.frames import runs_frame
from tuner.search.ledger import Ledger
from tuner.search.replay import read_pruner, replay_trials
from tuner.sweep.folder import SweepFolder
from tuner.sweep.ranking import best
from tuner.sweep.reader import read_records
from tuner.sweep.snapshot import read_snapshot

SAVED = sorted((Path(__file__).parents[2] / "fixtures").glob("sweep-format-*.tar.xz"))


@pytest.fixture(params=SAVED, ids=lambda path: path.name)
def saved(request, tmp_path) -> SweepFolder:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return SweepFolder.open("saved", home=tmp_path)


def test_there_is_one_of_every_format():
    assert [path.name for path in SAVED] == ["sweep-format-1.tar.xz", "sweep-format-3.tar.xz"]
    assert all(path.stat().st_size < 70_000 for path in SAVED)


def test_it_opens_and_is_complete(saved):
    records = read_records(saved)
    assert {record.run.key: record.state for record in records} == dict.fromkeys(
        ("baseline-standard", "baseline-fgsm_retraining", "trial-0000", "trial-0001"), "complete"
    )
    assert read_snapshot(saved).state == "completed"
    assert saved.space.resources.gpu == 0  # as it was before GPUs were used by themselves
    assert saved.space.resources.pack == 1  # likewise
    assert saved.taken_over_keys() == []
    assert all(0 < record.metrics["clean"] <= 1 for record in records)


def test_it_compares_and_exports(saved, tmp_path):
    winner = best(read_records(saved), "max")
    assert len(runs_frame(rank_runs(read_snapshot(saved)))) == 4
    bundle = export_run(read_snapshot(saved), tmp_path / "bundle")
    assert json.loads((bundle / "provenance.json").read_text())["run"] == winner.run.key
    assert checkpoint.load_newest(winner.run.folder / "checkpoint")["metrics"]["step"] == winner.metrics["step"]


def test_it_goes_on(saved):
    assert train_all(Ledger(saved.extended(4))) == ["trial-0002", "trial-0003"]
    assert len(read_records(saved)) == 6
    meta = json.loads((saved.folder / "sweep.json").read_text())
    assert (meta["format"], meta["id"]) == (3, saved.id)
    assert SweepFolder.open("saved", home=saved.folder.parent).num_trials == 4


def test_of_a_format_that_is_not_read_the_release_is_named(saved):
    path = saved.folder / "sweep.json"
    meta = {**json.loads(path.read_text()), "format": 4, "release": "3.0.0"}
    path.write_text(json.dumps({key: value for key, value in meta.items() if key != "sha256"}))
    with pytest.raises(UserError, match=r"format 4; this release reads formats 1 to 3: .* adversarial-tuner 3\.0\.0"):
        SweepFolder.open("saved", home=saved.folder.parent)


@pytest.mark.parametrize("saved", SAVED[:1], indirect=True, ids=["1"])
def test_its_provenance_does_not_fit_a_sweep_of_this_release(saved, tmp_path):
    assert "sweep_id" not in saved.read_provenance()
    sweep = SweepFolder.create("new", (saved.folder / "space.yaml").read_text(), "new.yaml", home=tmp_path)
    shutil.copy(saved.folder / "provenance.json", sweep.folder)
    with pytest.raises(UserError, match="does not say to which sweep it belongs"):
        sweep.read_provenance()
    for goes_on in (saved.extended(4), copy_sweep(saved, "copied")):
        assert goes_on.read_provenance()["sweep_id"] == goes_on.id


def test_a_trial_whose_driver_was_killed_before_its_end_was_written_is_replayed(saved):
    lines = saved.journal.read_bytes().splitlines(keepends=True)
    saved.journal.write_bytes(b"".join(lines[:-1]))
    snapshot = read_snapshot(saved, with_rows=True)
    assert snapshot.records[-1].state == "running"
    assert replay_trials(snapshot, read_pruner("median")).complete == 1


@pytest.mark.parametrize(
    ("before", "after"), [('"batch_size":64', '"batch_size":-4'), ('"trainable":"gan"', '"trainable":"gen"')]
)
def test_settings_that_no_run_can_have_are_named_with_the_study(tmp_path, run, before, after):
    with tarfile.open(SAVED[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    journal = tmp_path / "saved" / "study.journal"
    journal.write_text(journal.read_text().replace(before, after))
    for command in (("export", "saved", "--output", "bundle"), ("verify", "saved")):
        code, said = run(*command, "--home", str(tmp_path))
        assert (code, "Traceback" in said) == (2, False), said
        assert f"{journal} is damaged (no run can have the settings of" in "".join(said.split("\n"))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"trainable":"gan"', '"trainabla":"gan"'),
        ('"trainable":"gan"', '"trainable":["gan"]'),
        ('"rank_images":30', '"rank_images":"30"'),
        ('"validation":200', '"validation":null'),
        ('"kind":"constant"', '"king":"constant"'),
        ('"seed":3', '"sued":3'),
    ],
)
def test_settings_of_another_shape_are_named_with_the_study(tmp_path, run, before, after):
    with tarfile.open(SAVED[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    journal = tmp_path / "saved" / "study.journal"
    assert before in journal.read_text()
    journal.write_text(journal.read_text().replace(before, after))
    for command in (("trials",), ("compare",), ("show", "0"), ("status",), ("verify",)):
        code, said = run(command[0], "saved", *command[1:], "--home", str(tmp_path))
        assert (code, "Traceback" in said) == (2, False), said
        assert f"{journal} is damaged (an entry does not fit those before it" in "".join(said.split("\n"))
