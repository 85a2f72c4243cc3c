"""What a person sees who opens the link that `tuner ui` prints: a real browser, a fresh profile, and no click.

The table that it opens on is kept in MLflow's own format, which is nobody's promise: this is what notices a change.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.browser import CHROMIUM, DESKTOP, PHONE, Page, browser_page
from tests.support.mlflow_pages import CELLS, OF_MLFLOW, served
from tests.tuner.conftest import SPACE, STEPS, row, train
from tests.tuner.search.test_ledger import PRUNED_SPACE
from tests.tuner.tracking.test_views import content
from trainables.evaluation.metrics import accuracy_of
from tuner.results.compare import comparison_sentences
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import read_snapshot
from tuner.tracking.server import quiet_mlflow, tracking_uri
from tuner.tracking.sync import mirror_now
from tuner.tracking.views import all_sweeps_view

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
COLUMNS = [
    column.split("`")[1] for column in content(all_sweeps_view())["selectedColumns"] if column.startswith("metrics.")
]
CLEAN_LEAD = 0.05
VISIBLE = """
[...document.querySelectorAll('.ag-header-cell')].filter(cell => {
  const box = cell.getBoundingClientRect();
  const there = document.elementFromPoint(box.x + 20, box.y + 9);
  return box.width && box.right <= innerWidth && there?.closest('.ag-header-cell') === cell;
}).sort((one, other) => one.getBoundingClientRect().x - other.getBoundingClientRect().x)
.map(cell => cell.getAttribute('col-id'))
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Return a home of two sweeps: one of eight trials (complete, pruned, failed) and two baselines, and another."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        console = Console(file=io.StringIO())
        sweep = SweepFolder.create("demo", SPACE.replace(*PRUNED_SPACE), "s.yaml", home=Path(folder), num_trials=8)
        train_variously(Ledger(sweep))
        mirror_now(sweep, console, with_runs=False)
        other = SweepFolder.create("other", SPACE, "s.yaml", home=Path(folder), num_trials=1)
        ledger = Ledger(other)
        for run in iter(ledger.next_run, None):
            train(ledger, run, 0.01)
        mirror_now(other, console, with_runs=False)
        yield Path(folder)


def train_variously(ledger: Ledger) -> None:
    """Train runs to accuracies that are neither equal nor in the order of their numbers."""
    while (run := ledger.next_run()) is not None:
        robust = 0.2 + 0.07 * ((run.number * 3 + (run.kind == "baseline")) % 8)
        if run.key == "trial-0006":
            ledger.fail(run.key, "diverged: classifier_loss is nan")
            continue
        accuracies = {accuracy_of("clean"): robust + CLEAN_LEAD}
        if all(ledger.report(run.key, row(step, robust, **accuracies)) for step in range(1, STEPS)):
            ledger.complete(run.key, row(STEPS, robust, **accuracies))


@pytest.fixture(scope="module")
def link(home: Path) -> Iterator[str]:
    """Return the link that `tuner ui demo` prints."""
    with served(home, "demo") as address:
        yield address


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as page:
        yield page
        assert [error for error in page.errors if not OF_MLFLOW.search(error)] == []


@pytest.fixture(scope="module")
def table(page: Page, link: str) -> list[dict[str, str]]:
    """Follow the link on a desktop's screen, do nothing, and return what is in the table, row by row."""
    page.resize(DESKTOP)
    page.open(link)
    page.wait_for_text("matching runs", "trial-0000")
    page.wait_for(f"{CELLS}.length === 10")
    return page.run(CELLS)


@pytest.fixture(scope="module")
def snapshot(home: Path):
    return read_snapshot(SweepFolder.open("demo", home=home))


@pytest.fixture(scope="module")
def mirrored(home: Path, snapshot) -> dict[str, dict[str, float]]:
    """Return what MLflow has of every run of the sweep: its last metrics, by the run's key."""
    with pytest.MonkeyPatch.context() as patched, quiet_mlflow():
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        from mlflow.tracking import MlflowClient

        found = MlflowClient(tracking_uri(home)).search_runs(["1"], f"tags.`tuner.sweep_id` = '{snapshot.sweep.id}'")
        return {run.data.tags["tuner.run"]: run.data.metrics for run in found}


def test_without_a_click_every_run_is_there_with_its_accuracies_sorted(table, snapshot, mirrored):
    records = {record.run.key: record for record in snapshot.records}
    seen = {cells["attributes.`Run Name`"].split()[0]: cells for cells in table}
    assert set(seen) == {record.run.name for record in records.values()}
    for record in records.values():
        cells = seen[record.run.name]
        assert cells["tags.`tuner.state`"] == record.state
        for column in COLUMNS:
            shown, value = cells[f"metrics.`{column}`"], mirrored[record.run.key].get(column)
            assert shown == "-" if value is None else float(shown.rstrip("…")) == pytest.approx(value, abs=1e-4)
        if record.state == "complete":
            assert mirrored[record.run.key][COLUMNS[0]] == record.metrics[accuracy_of("robust")]
    robust = [cells[f"metrics.`{COLUMNS[0]}`"] for cells in table]
    measured = [float(text) for text in robust if text != "-"]
    assert measured == sorted(measured, reverse=True)
    assert robust[len(measured) :] == ["-"] * (len(robust) - len(measured))
    assert len(set(measured)) > 4
    assert {record.state for record in records.values()} == {"complete", "pruned", "failed"}


def test_accuracies_and_state_are_on_the_screen_in_model_training_mode(page, table):
    visible = page.run(VISIBLE)
    first = next(number for number, column in enumerate(visible) if column.startswith("metrics."))
    expected = [*(f"metrics.`{name}`" for name in COLUMNS), "tags.`tuner.state`"]
    assert visible[first : first + len(expected)] == expected
    assert "workflowType=machine_learning" in page.address
    assert "token" not in page.address
    assert not page.run("document.body.innerText.includes('Ask questions about your experiments')")


def test_the_page_of_a_trial_and_that_of_its_sweep(page, table, snapshot):
    page.click("[...document.querySelectorAll('.ag-row a')].find(link => link.innerText.startsWith('trial-0005'))")
    text = page.wait_for_text("Parameters", "Parent run", COLUMNS[0])
    assert re.search(r"^trial-0005 gan ", text, re.M)
    page.click("[...document.querySelectorAll('a')].find(link => link.innerText === 'demo')")
    page.wait_for_text("Child runs", "sweep/best", "budget.trials")
    page.click("[...document.querySelectorAll('button, a, span')].find(one => one.innerText === 'Show more')")
    text = " ".join(page.wait_for_text("Show less").split())
    for sentence in comparison_sentences(snapshot):
        assert " ".join(sentence.replace("`", "").split()) in text
    page.open(page.run("[...document.querySelectorAll('a')].find(a => a.innerText === 'The table of its runs').href"))
    page.wait_for(f"{CELLS}.length === 10")


def test_charts_stand_in_groups_and_runs_can_be_compared(page, link, table):
    page.open(link)
    page.wait_for("location.href.includes('searchFilter')")
    charts = page.address.replace("&searchFilter", "&compareRunsMode=CHART&searchFilter")
    page.run(f"location.href = {json.dumps(charts)}")
    group, slash, _ = COLUMNS[0].partition("/")
    page.wait_for_text("matching runs", group if slash else "Model metrics", "Step")
    runs = page.run(
        "fetch('ajax-api/2.0/mlflow/runs/search', {method: 'POST', headers: {'Content-Type': 'application/json'}, body:"
        " JSON.stringify({experiment_ids: ['1'], filter: \"tags.`tuner.kind` = 'trial'\", max_results: 2})})"
        ".then(answer => answer.json()).then(answer => answer.runs.map(run => run.info.run_id))"
    )
    page.run(f"location.hash = '#/compare-runs?runs=' + {json.dumps(json.dumps(runs))} + '&experiments=[%221%22]'")
    text = page.wait_for_text("Comparing 2 Runs", "ratio.kind", COLUMNS[0])
    assert "trial-0" in text


def test_on_a_telephone_runs_and_robust_accuracy_are_on_the_screen(page, link, table):
    page.resize(PHONE)
    page.open(link)
    page.wait_for(f"{CELLS}.length > 5")
    box = page.run(
        f'(() => {{ const box = document.querySelector(\'.ag-row[row-index="0"] [col-id="metrics.`{COLUMNS[0]}`"]\')'
        ".getBoundingClientRect(); return [box.x, box.y]; })()"
    )
    assert box[0] < PHONE[0] - 50
    assert box[1] < PHONE[1]


def test_without_a_name_the_table_of_all_sweeps_opens(page, link, table):
    page.resize(DESKTOP)
    page.open(link.partition("/demo?")[0])
    page.wait_for(f"{CELLS}.length === 13")
    cells = page.run(CELLS)
    assert {one["tags.`tuner.sweep`"] for one in cells} == {"demo", "other"}
    assert "sweep" not in {one["attributes.`Run Name`"] for one in cells}


def test_a_page_that_goes_elsewhere_while_it_is_asked_is_asked_again(page, tmp_path):
    (tmp_path / "page.html").write_text("")
    page.open((tmp_path / "page.html").as_uri())
    assert page.run("location.search || new Promise(() => { location.search = '?there' })") == "?there"
