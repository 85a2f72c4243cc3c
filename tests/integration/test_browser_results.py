"""What MLflow's pages say of a sweep that was confirmed: which is better, by how much, how sure, and its champion."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.browser import CHROMIUM, DESKTOP, PHONE, Page, browser_page
from tests.support.mlflow_pages import CELLS, OF_MLFLOW, served
from tests.tuner.conftest import REAL, train_really
from tests.tuner.results.test_confirmation import confirm
from tuner.results.confirmation import leads_of
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.sweep.snapshot import Snapshot, read_snapshot
from tuner.tracking.server import connect, quiet_mlflow
from tuner.tracking.sync import mirror_now, register

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
TO_CONFIGURATIONS = "[...document.querySelectorAll('a')].find(one => one.innerText.startsWith('The configurations'))"
NOTES = "[...document.querySelectorAll('button, a, span')].find(one => one.innerText === 'Show more')"


def link_called(text: str) -> str:
    """Return a script that finds the link of a text."""
    return f"[...document.querySelectorAll('a')].find(one => one.innerText.trim() === '{text}')"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    """Return a home with a sweep that was really trained, whose best trial is registered and clearly confirmed."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched, quiet_mlflow():
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        console = Console(file=io.StringIO())
        sweep = SweepFolder.create("real", REAL, "real.yaml", home=folder)
        train_really(Ledger(sweep))
        mirror_now(sweep, console, with_runs=False)
        register(sweep, console, print)
        best = read_snapshot(sweep).best
        names = ["trial-0000", "trial-0001", "baseline-standard", "baseline-fgsm_retraining"]
        assert best is not None
        values = {name: [0.3, 0.32, 0.31] for name in names} | {best.run.key: [0.6, 0.63, 0.61]}
        confirm(sweep, values)
        mirror_now(sweep, console, with_runs=False)
    return folder


@pytest.fixture(scope="module")
def snapshot(home: Path) -> Snapshot:
    return read_snapshot(SweepFolder.open("real", home=home))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as page:
        page.resize(DESKTOP)
        yield page
        assert [error for error in page.errors if not OF_MLFLOW.search(error)] == []


@pytest.fixture(scope="module")
def link(home: Path) -> Iterator[str]:
    with served(home, "real") as address:
        yield address


@pytest.fixture
def sweep_page(page: Page, link: str) -> Page:
    """Return the page of the sweep's own run, two clicks from the link that `tuner ui` prints."""
    page.open(link)
    page.wait_for_text("matching runs", "trial-0000")
    page.click("[...document.querySelectorAll('.ag-row a')].find(one => one.innerText.startsWith('trial-0000'))")
    page.wait_for_text("Parent run")
    page.click(link_called("real"))
    page.wait_for_text("Child runs")
    page.click(NOTES)
    page.wait_for_text("Show less")
    return page


def test_the_page_of_a_sweep_says_what_is_better_by_how_much_and_how_sure(sweep_page, snapshot, tmp_path):
    text = " ".join(sweep_page.text.split())
    winner = snapshot.confirmation.winner
    assert f"Confirmed as better than standard, fgsm_retraining: {winner}" in text
    assert "Better than fgsm_retraining: +" in text
    assert "points of robust accuracy (95 %: +" in text
    sweep_page.picture(tmp_path / "sweep.png")
    sweep_page.resize(PHONE)
    sweep_page.wait_for(f"Boolean({TO_CONFIGURATIONS})")
    sweep_page.picture(tmp_path / "sweep-phone.png")
    sweep_page.resize(DESKTOP)


def test_the_table_of_configurations_has_means_leads_and_p_values(sweep_page, snapshot, tmp_path):
    sweep_page.open(sweep_page.run(f"{TO_CONFIGURATIONS}.href"))
    confirmation = snapshot.confirmation
    sweep_page.wait_for(f"{CELLS}.length === {len(confirmation.configurations)}")
    rows = sweep_page.run(CELLS)
    verdicts = [row["tags.`tuner.verdict`"] for row in rows]
    assert verdicts[0] == "confirmed"
    assert sorted(verdicts[-2:]) == ["baseline", "baseline"]
    means = [float(row["metrics.`test/robust/mean`"].rstrip("…")) for row in rows]
    assert means == sorted(means, reverse=True)
    winner = next(one for one in confirmation.configurations if one.name == confirmation.winner)
    for lead in leads_of(confirmation, winner):
        for name, value in ((f"lead/{lead.against}/mean", lead.mean), (f"p/{lead.against}", lead.p_corrected)):
            shown = rows[0][f"metrics.`{name}`"]
            assert float(shown.rstrip("…")) == pytest.approx(value, abs=1e-3)
    sweep_page.picture(tmp_path / "configurations.png")
    sweep_page.resize(PHONE)
    sweep_page.picture(tmp_path / "configurations-phone.png")
    sweep_page.resize(DESKTOP)
    name = f"one.innerText.startsWith('{winner.display_name}')"
    sweep_page.click(f"[...document.querySelectorAll('.ag-row a')].find(one => {name})")
    sweep_page.wait_for_text("Parameters", "Parent run", "lead/standard/mean")
    sweep_page.picture(tmp_path / "configuration.png")


def test_the_champion_is_registered_and_its_model_has_the_recorded_accuracies(page, link, home, snapshot, tmp_path):
    with quiet_mlflow():
        (model,) = connect(home).search_logged_models(["1"])
    page.open(link)
    page.wait_for_text("matching runs")
    root = page.address.partition("#")[0]
    page.open(f"{root}#/models/real")
    page.wait_for_text("champion", "Version 1")
    page.picture(tmp_path / "registered.png")
    page.open(f"{root}#/experiments/{model.experiment_id}/models/{model.model_id}")
    text = page.wait_for_text("accuracy/robust", "trial-")
    recorded = {metric.key: metric.value for metric in model.metrics}
    assert recorded["accuracy/robust"] == snapshot.best.metrics["robust"]
    assert "real" in text
    page.picture(tmp_path / "champion.png")
    page.resize(PHONE)
    page.wait_for_text("accuracy/robust")
    page.picture(tmp_path / "champion-phone.png")
    page.resize(DESKTOP)
