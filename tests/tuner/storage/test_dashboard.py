"""optuna-dashboard looks at a sweep's study while its driver writes it, and changes nothing."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.tuner.conftest import train
from tests.tuner.search.test_ledger import PRUNED_SPACE
from tuner.search.ledger import Ledger
from tuner.sweep.reader import read_records

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("optuna_dashboard") is None,
    reason="optuna-dashboard is not installed: pip install -e '.[dashboard]'",
)


@pytest.fixture
def sweep(make_sweep):
    return make_sweep(replace=PRUNED_SPACE)


@pytest.fixture
def address(sweep) -> Iterator[str]:
    """Yield the address of a dashboard of the sweep's study, on loopback."""
    Ledger(sweep)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "from optuna_dashboard._cli import main; main()"
    options = ["--storage-class", "JournalFileStorage", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(sweep.journal), *options, "--server", "wsgiref"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


def _wait_for(page: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(page, timeout=10):
                return
        except URLError:
            assert process.poll() is None, "the dashboard ended"
            assert time.monotonic() < deadline, "the dashboard does not answer"
            time.sleep(0.2)


def get(page: str):
    with urlopen(page, timeout=30) as answer:
        return json.loads(answer.read())


def trials_once_there(page: str, number: int) -> list[dict]:
    """Return the trials that are shown, once there are that many: it looks for new ones every ten seconds."""
    deadline = time.monotonic() + 60
    while len(shown := get(page)["trials"]) < number:
        assert time.monotonic() < deadline, "the dashboard does not see them"
        time.sleep(0.5)
    return shown


def test_it_shows_the_search_as_it_goes(sweep, address):
    studies = {one["study_name"]: one["study_id"] for one in get(f"{address}/api/studies")["study_summaries"]}
    assert set(studies) >= {"search", "baselines"}
    search = f"{address}/api/studies/{studies['search']}?after=0"
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        train(ledger, run, robust=0.9 - 0.1 * run.number)
        if run.key == "trial-0000":
            assert [trial["state"] for trial in trials_once_there(search, 1)] == ["Complete"]
    content = sweep.journal.read_bytes()
    shown = trials_once_there(search, 4)
    states = {"complete": "Complete", "pruned": "Pruned", "failed": "Fail"}
    trials = [record for record in read_records(sweep) if record.run.kind == "trial"]
    assert {record.state for record in trials} == {"complete", "pruned"}
    assert [trial["state"] for trial in shown] == [states[record.state] for record in trials]
    assert [trial["number"] for trial in shown] == [0, 1, 2, 3]
    assert all(trial["intermediate_values"] for trial in shown)
    assert sweep.journal.read_bytes() == content, "looking has changed the ledger"
