"""A sweep in an object store as several machines see it, without Ray: ledger, results, steering."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from tests.support.postgres import PostgresServer
from tests.support.s3 import BUCKET, S3Server
from tests.tuner.conftest import REAL, SPACE, row, train_all, train_really
from trainables.storage.object_store import store_at
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.execution.evaluation import evaluate_runs
from tuner.execution.upkeep.copying import copy_sweep
from tuner.results.bundles.export import export_run
from tuner.results.follower import Follower
from tuner.search.ledger import Ledger
from tuner.storage import postgres as database
from tuner.sweep import control
from tuner.sweep.control import Control
from tuner.sweep.evaluations import read_evaluation
from tuner.sweep.folder import SweepFolder
from tuner.sweep.homes import home, names
from tuner.sweep.reader import open_files, read_records
from tuner.sweep.runs import read_metrics
from tuner.sweep.snapshot import read_snapshot

pytestmark = pytest.mark.database
HOME = f"s3://{BUCKET}/team/sweeps"


@pytest.fixture(scope="module")
def s3():
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.make_bucket()
        yield server
    server.close()


@pytest.fixture
def machine(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that goes to a machine, by its number; the store is empty at the beginning."""
    store_at(f"s3://{BUCKET}/team").remove("sweeps")

    def go(number: int) -> SweepStore:
        monkeypatch.setenv("TUNER_CACHE", str(tmp_path / f"machine-{number}"))
        return home(HOME)

    return go


@pytest.fixture
def study(postgres: PostgresServer):
    """Return the URL of a database."""
    url = postgres.database()
    yield url
    database.reader(url).close()


def test_two_machines_drive_it_one_after_the_other_and_a_third_one_looks(machine, study: str):
    sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=machine(1), study_storage=study)
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        run = ledger.next_run()
        ledger.report(run.key, row(1))
    assert names(machine(3)) == ["tiny"]
    assert [
        read_metrics(record.run)[0]["step"] for record in read_records(SweepFolder.open("tiny", home=machine(3)))
    ] == [1]

    with pytest.raises(UserError, match=f"a sweep named 'tiny' is in {HOME} already"):
        SweepFolder.create("tiny", SPACE, "tiny.yaml", home=machine(2), study_storage=sweep.study_storage)
    again = SweepFolder.open("tiny", home=machine(2))
    with again.lock() as lock:
        assert sorted(train_all(Ledger(again, lock))) == sorted(record.run.key for record in read_records(again))
    # The first machine sees what the second one has done, though it has a copy of its own.
    for number in (1, 3):
        records = read_records(SweepFolder.open("tiny", home=machine(number)))
        assert {record.state for record in records} == {"complete"}
        assert [[one["step"] for one in read_metrics(record.run)] for record in records] == [[1, 2, 3]] * 6


def test_what_is_watched_from_elsewhere_is_up_to_date(machine, study: str):
    sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=machine(1), study_storage=study)
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        follower = Follower(SweepFolder.open("tiny", home=machine(2)))
        run = ledger.next_run()
        for step in (1, 2):
            ledger.report(run.key, row(step))
            assert [(one.run.key, one.metrics["step"]) for one in follower.refresh()] == [(run.key, step)]


def test_a_driver_is_steered_from_elsewhere(machine, study: str):
    sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=machine(1), study_storage=study)
    elsewhere = SweepFolder.open("tiny", home=machine(2))
    with sweep.lock():
        driver = Control(sweep)
        asked = threading.Thread(target=control.ask_driver, args=(elsewhere, "stop"))
        asked.start()
        while not driver.is_winding_down():
            assert asked.is_alive()
        asked.join(10)
        assert control.phase_of(elsewhere) == "stopping"
        driver.end()
        assert control.phase_of(elsewhere) == "stopped"
        Control(sweep)
        assert control.phase_of(elsewhere) == "running"


def test_an_object_store_keeps_no_study(machine):
    with pytest.raises(UserError, match=f"{HOME} cannot keep a study, .*--study-storage postgresql"):
        SweepFolder.create("tiny", SPACE, "tiny.yaml", home=machine(1))
    assert names(machine(1)) == []


@pytest.mark.parametrize(
    "url",
    ["s3://KEY:hush@bucket/sweeps", "nothing://bucket", "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http"],
)
def test_a_url_that_cannot_be_used_is_refused_in_words(url):
    with pytest.raises(UserError, match=r"the sweeps' storage cannot be used: .*choose another --storage") as error:
        home(url)
    assert "hush" not in str(error.value)


def test_what_was_really_trained_elsewhere_is_judged_and_exported_here(machine, study: str, tmp_path: Path):
    torch.set_num_threads(1)
    sweep = SweepFolder.create("real", REAL, "real.yaml", home=machine(1), study_storage=study)
    with sweep.lock() as lock:
        train_really(Ledger(sweep, lock), sweep.store)
    here = SweepFolder.open("real", home=machine(2))
    best = next(record for record in read_records(here) if record.run.key == "trial-0000")
    with here.lock() as lock:
        files = open_files(here, lock)
        evaluate_runs(here, [best], files, tier="rank", num_images=20, workers=1, tell=lambda text: None)
    target = export_run(read_snapshot(here), tmp_path / "bundle", "0")
    assert (target / "classifier.safetensors").exists()
    there = SweepFolder.open("real", home=machine(3))
    run = next(record for record in read_records(there) if record.run.key == "trial-0000").run
    assert read_evaluation(run, "rank") == read_evaluation(best.run, "rank")
    assert read_evaluation(run, "rank") is not None


def test_a_copy_in_the_object_store_is_noticed_and_one_that_is_made_by_the_command_is_its_own(machine, study: str):
    store = machine(1)
    sweep = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=store, study_storage=study)
    with sweep.lock() as lock:
        train_all(Ledger(sweep, lock))
    files = store_at(f"{HOME}/tiny")
    before = {name: files.read(name) for name in files.files()}

    def copy_by_other_tools(place: str) -> None:
        for name, content in before.items():
            store_at(place).write(name, content)

    copy_by_other_tools(f"{HOME}/copied")
    with pytest.raises(UserError, match="hold the same sweep"), SweepFolder.open("copied", home=store).lock():
        pass
    copy = copy_sweep(sweep, "new")
    assert {name: files.read(name) for name in files.files()} == before
    elsewhere = SweepFolder.open("new", home=machine(2))
    assert elsewhere.id == copy.id
    assert len(read_records(elsewhere)) == len(read_records(sweep)) == 6
    with elsewhere.lock() as lock:
        assert len(train_all(Ledger(elsewhere.extended(6), lock))) == 2
    files.remove("sweep.json")  # renamed: the original is gone
    with SweepFolder.open("copied", home=machine(2)).lock():
        pass
