"""`tuner dashboard` as it is served: in a browser with its link, to nobody without it, until Ctrl-C."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.browser import CHROMIUM, DESKTOP, PHONE, browser_page
from tests.support.mlflow_pages import served
from tests.tuner.conftest import SPACE, train
from tests.tuner.search.test_ledger import PRUNED_SPACE
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("optuna_dashboard") is None, reason="optuna-dashboard is missing"),
]


def files_of(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_browser_shows_a_search_that_goes_on_and_nobody_changes_it(tmp_path):
    sweep = SweepFolder.create("demo", SPACE.replace(*PRUNED_SPACE), "s.yaml", home=tmp_path, num_trials=8)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        train(ledger, run, robust=0.125 + 0.0625 * run.number)
        if run.key == "trial-0002":
            break
    with served(tmp_path, "demo", "dashboard") as link, browser_page() as page:
        page.resize(DESKTOP)
        page.open(link)
        page.wait_for_text("Best Trial (number=2)", "0.25", "robust", "Hyperparameter Importance")
        assert "token" not in page.address
        for run in iter(ledger.next_run, None):
            train(ledger, run, robust=0.125 + 0.0625 * run.number)
        page.wait_for_text("Best Trial (number=7)", "0.5625")  # it looks for what is new every few seconds
        before = files_of(tmp_path)
        assert page.run("fetch('/api/studies/0', {method: 'DELETE'}).then(answer => answer.status)") == 405
        page.errors = [error for error in page.errors if "405" not in error]
        page.resize(PHONE)
        page.wait_for_text("Best Trial (number=7)")
        assert page.errors == []
        with contextlib.closing(http.client.HTTPConnection(urlsplit(link).netloc, timeout=60)) as connection:
            for method, path in (("GET", "/"), ("GET", "/api/studies"), ("DELETE", "/api/studies/0")):
                connection.request(method, path)
                answer = connection.getresponse()
                assert answer.status == 401
                assert b"open the link that `tuner dashboard` has printed" in answer.read()
    assert files_of(tmp_path) == before
