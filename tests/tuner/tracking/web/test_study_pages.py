"""optuna-dashboard shows a sweep's study while its driver writes it, and no request changes the study."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.tuner.conftest import STEPS, row, train
from tests.tuner.search.test_ledger import PRUNED_SPACE
from tuner.errors import MissingExtraError, UserError
from tuner.search.ledger import Ledger
from tuner.sweep.reader import read_records
from tuner.tracking.web import study_pages
from tuner.tracking.web.study_pages import ShownStudies, dashboard, open_studies

needs_dashboard = pytest.mark.skipif(
    importlib.util.find_spec("optuna_dashboard") is None,
    reason="optuna-dashboard is not installed: pip install -e '.[dashboard]'",
)
WRITING = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "RENAME")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Dashboard:
    """The pages of a sweep, asked without a server."""

    def __init__(self, sweep) -> None:
        self.studies = open_studies(sweep)
        self._app = dashboard(self.studies)

    def ask(self, path: str, method: str = "GET", kind: str = "http", body: bytes = b"{}") -> Answer:
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": f"{kind}.request", "body": body}

        path, _, query = path.partition("?")
        scope = {"type": kind, "http_version": "1.1", "path": path, "query_string": query.encode(), "headers": []}
        asyncio.run(self._app(scope | {"method": method}, receive, send))
        if kind != "http":
            return Answer(sent[0]["code"], {}, b"") if sent else Answer(0, {}, b"")
        headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:]))

    def search(self) -> dict[str, Any]:
        return self.ask(f"{self.studies.path.replace('dashboard', 'api')}").json


def files_of(sweep) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sweep.folder.rglob("*") if path.is_file()}


@needs_dashboard
def test_it_shows_the_search_as_it_goes(make_sweep):
    sweep = make_sweep(replace=PRUNED_SPACE)
    ledger = Ledger(sweep)
    shown = Dashboard(sweep)
    assert shown.search()["trials"] == []
    for run in iter(ledger.next_run, None):
        train(ledger, run, robust=0.9 - 0.1 * run.number)
    before = files_of(sweep)
    page = Dashboard(sweep)
    assert page.ask("/").headers["location"].endswith("/dashboard")
    assert b"<title>Optuna Dashboard" in page.ask(page.studies.path).body
    names = {study["study_name"] for study in page.ask("/api/studies").json["study_summaries"]}
    assert {"search", "baselines"} <= names
    search = page.search()
    assert search["objective_names"] == ["robust"]
    states = {"complete": "Complete", "pruned": "Pruned", "failed": "Fail"}
    trials = [record for record in read_records(sweep) if record.run.kind == "trial"]
    assert {record.state for record in trials} == {"complete", "pruned"}
    assert [trial["state"] for trial in search["trials"]] == [states[record.state] for record in trials]
    assert [trial["number"] for trial in search["trials"]] == [0, 1, 2, 3]
    assert all(trial["intermediate_values"] for trial in search["trials"])
    table = page.ask(f"/csv/{page.studies.path.rpartition('/')[2]}").body.decode()
    assert table.startswith("Number,State,robust,Param generator.learning_rate,")
    assert shown.studies.storage.get_all_trials(0, deepcopy=False)[3].number == 3, "what was added is read"
    assert files_of(sweep) == before


@needs_dashboard
def test_no_request_changes_the_study(make_sweep):
    import optuna_dashboard

    sweep = make_sweep(num_trials=2)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        train(ledger, run)
    before = files_of(sweep)
    page = Dashboard(sweep)
    open_to_all = optuna_dashboard.wsgi(page.studies.storage)
    rules = {(route.method, re.sub(r"<[^>]*>", "0", route.rule)) for route in open_to_all.routes}
    assert {("DELETE", "/api/studies/0"), ("POST", "/api/studies/0/rename"), ("PUT", "/api/studies/0/note")} <= rules
    for method in WRITING:
        for path in {path for _, path in rules} | {"/", "//api/studies/0", "/nowhere"}:
            answer = page.ask(path, method)
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
            assert "to look at only" in answer.json["reason"]
    for path in sorted(path for method, path in rules if method == "GET"):
        assert page.ask(path).status < 600
    assert page.ask("/api/studies", kind="websocket").status == 1008
    assert files_of(sweep) == before


@needs_dashboard
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/studies/0", {}),
        ("POST", "/api/studies/0/rename", {"study_name": "other"}),
        ("POST", "/api/studies", {"study_name": "other", "directions": ["minimize"]}),
        ("PUT", "/api/studies/0/note", {"version": 1, "body": "a note"}),
        ("POST", "/api/trials/0/tell", {"state": "Fail"}),
        ("POST", "/api/trials/0/user-attrs", {"user_attrs": {"settings": "{}"}}),
    ],
)
def test_the_journal_refuses_what_would_come_through(make_sweep, method, path, body):
    sweep = make_sweep(num_trials=1)
    ledger = Ledger(sweep)
    ledger.next_run()
    before = files_of(sweep)
    page = Dashboard(sweep)
    page._app = page._app._app  # the application behind the one that refuses
    assert page.ask(path, method, body=json.dumps(body).encode()).status >= 400
    assert files_of(sweep) == before


@needs_dashboard
def test_a_masked_trial_is_marked_and_never_the_best(make_sweep):
    sweep = make_sweep(num_trials=3)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        masked = run.key == "trial-0001"
        ledger.complete(run.key, row(STEPS, 0.9 if masked else 0.1 * run.number, masking_failures=float(masked)))
    search = Dashboard(sweep).search()
    broken = [max(trial["constraints"]) > 0 for trial in search["trials"]]
    assert broken == [False, True, False]
    assert [trial["number"] for trial in search["best_trials"]] == [2]


@needs_dashboard
def test_where_all_are_masked_one_is_shown_all_the_same(make_sweep):
    sweep = make_sweep(num_trials=2)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        ledger.complete(run.key, row(STEPS, 0.1 * run.number, masking_failures=1.0))
    assert len(Dashboard(sweep).search()["trials"]) == 2


@needs_dashboard
def test_each_objective_of_a_front_has_its_name(make_sweep):
    sweep = make_sweep(replace=("budget:", "objective: [{metric: robust}, {metric: clean}]\nbudget:"), num_trials=2)
    ledger = Ledger(sweep)
    for run in iter(ledger.next_run, None):
        train(ledger, run)
    assert Dashboard(sweep).search()["objective_names"] == ["robust", "clean"]


@needs_dashboard
def test_a_journal_that_is_damaged_meanwhile_is_said_in_words(make_sweep, capfd):
    sweep = make_sweep(num_trials=1)
    Ledger(sweep)
    page = Dashboard(sweep)
    with sweep.journal.open("ab") as journal:
        journal.write(b'{"op_code": 0, "not": "a line of ours"}\n')
    answer = page.ask("/api/studies")
    assert answer.status == 503
    assert "is damaged" in answer.json["reason"]
    assert page.ask(page.studies.path).status == 200
    assert capfd.readouterr() == ("", "")


def test_a_sweep_without_a_study_is_refused_in_words(make_sweep):
    sweep = make_sweep()
    with pytest.raises(UserError, match="tiny has no study yet: see `tuner status tiny`"):
        ShownStudies(sweep)


def test_without_the_extra_it_is_said_what_to_install(make_sweep, run, monkeypatch):
    sweep = make_sweep(num_trials=1)
    Ledger(sweep)
    monkeypatch.setattr(study_pages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="dashboard"):
        open_studies(sweep)
    code, output = run("dashboard", "tiny", "--home", str(sweep.store.root))
    assert code == 2
    assert "pip install 'adversarial-tuner[dashboard]'" in " ".join(output.split())
