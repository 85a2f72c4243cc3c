"""A sweep whose folder or journal is taken away while it runs: noticed at the next write, and nothing is made anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.tuner.conftest import SPACE, row, train
from trainables.errors import StorageError
from trainables.worker.context import WorkerContext
from tuner.execution import driver
from tuner.execution.dispatcher import Dispatcher, Report
from tuner.execution.failures import FailurePolicy
from tuner.execution.ray_tune.gpu_plan import RunResources
from tuner.execution.ray_tune.gpus import Placement
from tuner.execution.search import search
from tuner.search.confirmation import make_plan
from tuner.search.confirmation_ledger import ConfirmLedger
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder


def rename(sweep: SweepFolder) -> None:
    sweep.folder.rename(sweep.folder.with_name("elsewhere"))


def remove(sweep: SweepFolder) -> None:
    shutil.rmtree(sweep.folder)


def replace_by_another_sweep(sweep: SweepFolder) -> None:
    rename(sweep)
    SweepFolder.create(sweep.name, SPACE, "tiny.yaml", home=sweep.folder.parent)


def replace_by_a_copy(sweep: SweepFolder) -> None:
    rename(sweep)
    shutil.copytree(sweep.folder.with_name("elsewhere"), sweep.folder)


def remove_journal(sweep: SweepFolder) -> None:
    sweep.journal.unlink()


def replace_journal(sweep: SweepFolder) -> None:
    content = sweep.journal.read_bytes()
    sweep.journal.rename(sweep.folder / "old")
    sweep.journal.write_bytes(content)


def cut_journal(sweep: SweepFolder) -> None:
    sweep.journal.write_bytes(sweep.journal.read_bytes()[:-1])


def write_to_journal(sweep: SweepFolder) -> None:
    with sweep.journal.open("ab") as file:
        file.write(b"{}\n")


OF_FOLDER = (rename, remove, replace_by_another_sweep, replace_by_a_copy)
OF_JOURNAL = (remove_journal, replace_journal, cut_journal, write_to_journal)


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fault", OF_FOLDER + OF_JOURNAL, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("what", ["start", "report", "end", "give up"])
def test_the_next_write_says_what_happened_and_writes_nothing(make_sweep, fault: Callable, what):
    sweep = make_sweep()
    with sweep.lock():
        ledger = Ledger(sweep)
        run = ledger.next_run()
        ledger.report(run.key, row(1))
        fault(sweep)
        before = content(sweep.folder)
        act = {
            "start": ledger.next_run,
            "report": lambda: [ledger.report(run.key, row(2)), ledger.complete(run.key, row(3))],
            "end": lambda: ledger.fail(run.key, "error: no"),
            "give up": lambda: ledger.give_up("5 runs in a row have failed"),
        }[what]
        words = "was (renamed, removed or replaced|removed, replaced or changed).* wherever it is now"
        with pytest.raises(StorageError, match=words):
            act()
        added = {path for path in content(sweep.folder) if path not in before}
        assert {path.name for path in added} <= ({"metrics.jsonl"} if fault in OF_JOURNAL else set())
        assert sweep.folder.exists() == (fault not in (rename, remove))


def test_confirming_notices_it_too(make_sweep):
    sweep = make_sweep()
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        train(ledger, run)
    confirming = ConfirmLedger(sweep, make_plan(sweep, top=1, num_seeds=2))
    run = confirming.next_run()
    rename(sweep)
    with pytest.raises(StorageError, match="renamed, removed or replaced"):
        confirming.report(run.key, row(1))
    assert not sweep.folder.exists()


@pytest.mark.parametrize("fault", [rename, remove_journal], ids=lambda fault: fault.__name__)
def test_a_driver_ends_as_failed(make_sweep, monkeypatch, fault):
    sweep = make_sweep()

    def execute(queue, resources, observers, **others):
        dispatcher = Dispatcher(queue, FailurePolicy(None), observers, lambda: 1)
        run = dispatcher.next_run()
        assert dispatcher.on_report(run.key, Report(row(1)))
        fault(sweep)
        dispatcher.on_report(run.key, Report(row(2)))
        dispatcher.fail(run.key, "error: no")
        assert dispatcher.is_done
        raise dispatcher.policy.fatal

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr(driver, "MIRROR_WAIT_S", 0.1)
    monkeypatch.setattr(driver, "start_ray", lambda **options: None)
    monkeypatch.setattr(driver, "place_sweep", lambda *arguments: Placement(RunResources()))
    monkeypatch.setattr(driver, "verify_nodes", lambda sweep: WorkerContext())
    monkeypatch.setattr(driver, "execute", execute)
    ending = search(sweep, Console(quiet=True))
    assert (ending.state, ending.mirrored) == ("failed", False)
    assert str(sweep.folder if fault is rename else sweep.journal) in ending.failure
    assert sweep.folder.exists() == (fault is not rename)
    assert not sweep.journal.exists()


def test_a_paused_driver_ends_without_its_folder(make_sweep):
    from tuner.sweep.control import Control

    sweep = make_sweep()
    control = Control(sweep)
    rename(sweep)
    assert control.wait() is False
    assert not sweep.folder.exists()
